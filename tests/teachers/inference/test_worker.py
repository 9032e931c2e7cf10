"""Workers whose process breaks, hangs or is killed: every row is stored once, the bad one with its error."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from teachers.config import EndpointTeacher
from teachers.dataset import read_rows
from teachers.engines.protocol import Teacher, TeacherError
from teachers.inference.attempts import start_ledger
from teachers.inference.pipeline import blocks_of_files, run_teacher
from teachers.inference.store import Row, content_key, open_store
from teachers.inference.tasks import Task, TeacherWork
from teachers.inference.work_files import work_files, write_work
from teachers.inference.worker import Worker
from teachers.records import PAIR_SCORES
from teachers.storage import open_uri
from tests.http_server import chat_completion, json_server
from tests.s3_server import faulty_bucket

pytestmark = pytest.mark.slow
NUM_ROWS, BATCH = 12, 4
_REQUESTS = pa.schema([("key", pa.string()), ("folder", pa.string()), ("fault", pa.string())])


@pytest.fixture(scope="module")
def teacher() -> Iterator[EndpointTeacher]:
    """The teacher whose process starts fastest, for faults that the task forces."""
    # It answers the check of an endpoint before its use.
    with json_server(lambda request: (200, chat_completion("fine"))) as url:
        yield EndpointTeacher(
            kind="endpoint",
            base_url=f"{url}/v1",
            model="tiny",
            num_cpus=1,
            batch_timeout_s=5,
        )


def _run(teacher: Teacher, rows: list[Row]) -> list[Row]:
    """Notes what it is asked, and does to its process what a row says."""
    for row in rows:
        with (Path(row["folder"]) / "asked").open("a") as times_requested:
            times_requested.write(row["key"] + "\n")
        once = Path(row["folder"]) / "once"
        if row["fault"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif row["fault"] == "killed once" and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        elif row["fault"] == "hangs":
            time.sleep(3600)
        elif row["fault"] == "engine":
            time.sleep(1)  # what was done before is stored by then
            raise RuntimeError("CUDA error: an illegal memory access")
        elif row["fault"] == "refused":
            raise ValueError("prompt of 9000 tokens")
        elif row["fault"] == "surrogate":
            return [{**_row(each, None), "error": "\ud83d" if each is row else None} for each in rows]
        elif row["fault"] == "type":
            return [{**_row(each, None), "similarity": "high" if each is row else 0.0} for each in rows]
        elif row["fault"] == "quoted surrogate":
            raise ValueError("no token of \ud83d")
        elif row["fault"] == "key":
            raise TeacherError("the key is wrong")
    return [_row(row, None) for row in rows]


def _row(row: Row, error: str | None) -> Row:
    empty = dict.fromkeys(PAIR_SCORES.names)
    return {**empty, "key": row["key"], "similarity": 0.0, "error": error}


def _rejected(row: Row, error: str) -> list[Row]:
    return [_row(row, error)]


def _store(tmp_path: Path, teacher: EndpointTeacher, faults: dict[int, str]) -> dict[str, str | None]:
    """Has NUM_ROWS rows done, of which some have a fault; key -> error of what is stored then."""
    work = [
        {"key": f"row {number:02}", "folder": str(tmp_path), "fault": faults.get(number)}
        for number in range(NUM_ROWS)
    ]
    store = str(tmp_path / "store")
    before = _stored_keys(tmp_path)
    assert _do(tmp_path, teacher, work) == NUM_ROWS - len(before)
    rows = read_rows(store)
    assert len(rows) == len({row["key"] for row in rows}) == NUM_ROWS
    return {row["key"]: row["error"] for row in rows}


def _do(tmp_path: Path, teacher: EndpointTeacher, work: list[Row]) -> int:
    """Has the rows of `work` done that are not stored; how many were made."""
    stored = _stored_keys(tmp_path)
    missing = [row for row in work if row["key"] not in stored]
    uri = {name: str(tmp_path / name) for name in ("work", "store", "notes")}
    write_work(uri["work"], missing, _REQUESTS, BATCH)
    task = Task("tests", "rows", _REQUESTS, PAIR_SCORES, _run, _rejected)
    teacher_work = TeacherWork("tiny", teacher, task, BATCH, uri["store"], uri["notes"])
    return sum(made.num_rows for made in run_teacher(teacher_work, uri["work"]))


def _stored_keys(tmp_path: Path) -> set[str]:
    stored = open_store(str(tmp_path / "store"))
    return set() if stored is None else set(stored.to_table(["key"])["key"].to_pylist())


def _times_requested(tmp_path: Path) -> Counter[str]:
    return Counter((tmp_path / "asked").read_text().splitlines())


@pytest.mark.faults
def test_rows_that_break_the_engine_are_rejected_alone(
    ray_cluster: None, tmp_path: Path, teacher: EndpointTeacher
) -> None:
    refused = dict.fromkeys((0, 1, 2), "refused")  # however many, the engine is not at fault
    stored = _store(tmp_path, teacher, {**refused, 5: "hangs", 6: "engine", 10: "killed"})
    assert {key: error for key, error in stored.items() if error is not None} == {
        "row 00": "prompt of 9000 tokens",
        "row 01": "prompt of 9000 tokens",
        "row 02": "prompt of 9000 tokens",
        "row 05": "the process died, or did not answer within 5 s",
        "row 06": "RuntimeError: CUDA error: an illegal memory access",
        "row 10": "the process died, or did not answer within 5 s",
    }
    times_requested = _times_requested(tmp_path)
    # In its batch, in a half of it, and alone.
    assert times_requested["row 05"] == times_requested["row 10"] == 3
    # What came of a part is kept when the next one breaks the process.
    assert max(times_requested.values()) == 3


def test_a_row_whose_output_cannot_be_stored_is_rejected_alone(
    ray_cluster: None, tmp_path: Path, teacher: EndpointTeacher
) -> None:
    stored = _store(tmp_path, teacher, {1: "surrogate", 5: "type", 10: "quoted surrogate"})
    errors = {key: error for key, error in stored.items() if error is not None}
    assert set(errors) == {"row 01", "row 05", "row 10"}
    assert "surrogates not allowed" in errors["row 01"]
    assert errors["row 10"] == r"no token of \ud83d"


def test_a_killed_worker_costs_its_batch_and_no_row(
    ray_cluster: None, tmp_path: Path, teacher: EndpointTeacher
) -> None:
    stored = _store(tmp_path, teacher, {5: "killed once"})
    assert set(stored.values()) == {None}
    assert sum(_times_requested(tmp_path).values()) <= NUM_ROWS + BATCH


@pytest.mark.faults
def test_an_engine_that_fails_at_row_after_row_ends_the_job_and_keeps_what_is_done(
    ray_cluster: None, tmp_path: Path, teacher: EndpointTeacher
) -> None:
    with pytest.raises(TeacherError, match=r"teachers\.tiny: its engine failed at \d rows in a row.*CUDA"):
        _store(tmp_path, teacher, dict.fromkeys(range(BATCH, NUM_ROWS), "engine"))
    assert _stored_keys(tmp_path) == {f"row {number:02}" for number in range(BATCH)}
    times_requested = _times_requested(tmp_path)
    _store(tmp_path, teacher, {})
    assert all(
        _times_requested(tmp_path)[f"row {number:02}"] == times_requested[f"row {number:02}"]
        for number in range(BATCH)
    )


def test_a_teacher_at_fault_ends_the_job_at_once(
    ray_cluster: None, tmp_path: Path, teacher: EndpointTeacher
) -> None:
    with pytest.raises(TeacherError, match=r"teachers\.tiny: the key is wrong"):
        _store(tmp_path, teacher, {0: "key"})


def test_a_file_that_was_cut_off_is_made_again(
    ray_cluster: None, tmp_path: Path, teacher: EndpointTeacher
) -> None:
    _store(tmp_path, teacher, {})
    first = min((tmp_path / "store").glob("*.parquet"))
    lost = {row["key"] for row in read_rows(str(first))}
    first.write_bytes(first.read_bytes()[:-20])  # the footer is written last
    (tmp_path / "asked").unlink()
    work = [{"key": key, "folder": str(tmp_path), "fault": None} for key in sorted(lost)]
    assert lost.isdisjoint(_stored_keys(tmp_path))
    assert _do(tmp_path, teacher, work) == len(lost)
    assert set(_times_requested(tmp_path)) == lost
    assert len(_stored_keys(tmp_path)) == NUM_ROWS


def test_a_batch_that_is_stored_is_not_made_again_with_the_rest_of_its_file(
    ray_cluster: None, tmp_path: Path, teacher: EndpointTeacher
) -> None:
    work = [{"key": f"row {number:02}", "folder": str(tmp_path), "fault": None} for number in range(NUM_ROWS)]
    uri = {name: str(tmp_path / name) for name in ("work", "store", "notes")}
    # All batches in one file, as of a long job: a node that is lost after the first of them.
    write_work(uri["work"], work, _REQUESTS, NUM_ROWS)
    task = Task("tests", "rows", _REQUESTS, PAIR_SCORES, _run, _rejected)
    teacher_work = TeacherWork("tiny", teacher, task, BATCH, uri["store"], uri["notes"])
    (tmp_path / "store").mkdir()
    ledger = start_ledger()
    lost, next_one = Worker(teacher_work, ledger), Worker(teacher_work, ledger)
    [file] = work_files(uri["work"])
    lost.make(work[:BATCH])
    ray.get(ledger.begin_file.remote(file))
    made = pa.concat_tables(next_one(pa.table({"file": [file]})))
    assert made["made"].to_pylist() == [BATCH] * (NUM_ROWS // BATCH)
    assert max(_times_requested(tmp_path).values()) == 1
    assert len(_stored_keys(tmp_path)) == NUM_ROWS


@pytest.mark.faults
def test_a_slow_bucket_that_fails_now_and_then_costs_no_row(
    ray_cluster: None, tmp_path: Path, teacher: EndpointTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = [{"key": f"row {number:02}", "folder": str(tmp_path), "fault": None} for number in range(NUM_ROWS)]
    with faulty_bucket() as bucket:
        filesystem, _ = open_uri(bucket.at(""))
        monkeypatch.setattr("teachers.storage._s3", lambda _: filesystem)
        write_work("s3://runs/work", work, _REQUESTS, BATCH)
        task = Task("tests", "rows", _REQUESTS, PAIR_SCORES, _run, _rejected)
        worker = Worker(
            TeacherWork("tiny", teacher, task, BATCH, "s3://runs/store", "s3://runs/notes"), start_ledger()
        )

        bucket.delay_s, bucket.failures = 0.05, 4
        bucket.requests.clear()
        list(worker(pa.table({"file": work_files("s3://runs/work")})))
        assert bucket.failures == 0
        assert bucket.requests.count("PUT") <= NUM_ROWS // BATCH + 4, "one a batch, and those repeated"

        bucket.delay_s = 0
        assert len(read_rows("s3://runs/store")) == NUM_ROWS
    assert max(_times_requested(tmp_path).values()) == 1


def test_workers_get_several_files_at_once_where_there_are_enough_for_all() -> None:
    names = [f"{number}" for number in range(100)]
    assert [len(block) for block in blocks_of_files(names, num_workers=2)] == [8] * 12 + [4]
    assert [len(block) for block in blocks_of_files(names[:7], num_workers=2)] == [1] * 7
    assert pa.concat_tables(blocks_of_files(names, num_workers=2))["file"].to_pylist() == names


def test_the_key_of_a_text_is_its_own() -> None:
    assert content_key(["a", "b"]) != content_key(["a b"]) != content_key("a", "b")
    assert len(content_key("é")) == 32
