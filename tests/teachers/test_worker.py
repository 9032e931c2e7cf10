"""Workers whose process breaks, hangs or is killed: every row is stored once, the bad one with its error."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from teachers.config import SimilarityTeacher
from teachers.records import PAIR_SCORES, read_rows
from teachers.store import Row, content_key, stored_keys
from teachers.teacher import Teacher, TeacherError
from teachers.worker import Task, run_teacher
from tests.tiny_models import make_student

pytestmark = pytest.mark.slow
NUM_ROWS, BATCH = 12, 4
_WANTED = pa.schema([("key", pa.string()), ("folder", pa.string()), ("fault", pa.string())])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> SimilarityTeacher:
    """The lightest real teacher, for faults that the task forces."""
    folder = make_student(tmp_path_factory.mktemp("retriever") / "model", ["hello", "you"])
    return SimilarityTeacher(
        kind="similarity", model=str(folder), num_cpus=1, max_tokens=16, batch_timeout_s=5
    )


def _run(teacher: Teacher, rows: list[Row]) -> list[Row]:
    """Notes what it is asked, and does to its process what a row says."""
    for row in rows:
        with (Path(row["folder"]) / "asked").open("a") as asked:
            asked.write(row["key"] + "\n")
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
        elif row["fault"] == "key":
            raise TeacherError("the key is wrong")
    return [_row(row, None) for row in rows]


def _row(row: Row, error: str | None) -> Row:
    empty = dict.fromkeys(PAIR_SCORES.names)
    return {**empty, "key": row["key"], "similarity": 0.0, "error": error}


def _aside(row: Row, error: str) -> list[Row]:
    return [_row(row, error)]


def _store(tmp_path: Path, teacher: SimilarityTeacher, faults: dict[int, str]) -> dict[str, str | None]:
    """Has NUM_ROWS rows done, of which some have a fault; key -> error of what is stored then."""
    work = [
        {"key": f"row {number:02}", "folder": str(tmp_path), "fault": faults.get(number)}
        for number in range(NUM_ROWS)
    ]
    task = Task("tests", "rows", _WANTED, PAIR_SCORES, _run, _aside)
    store = str(tmp_path / "store")
    missing = [row for row in work if row["key"] not in stored_keys(store)]
    run_teacher("tiny", teacher, task, missing, BATCH, store, str(tmp_path / "notes"))
    rows = read_rows(store)
    assert len(rows) == len({row["key"] for row in rows}) == NUM_ROWS
    return {row["key"]: row["error"] for row in rows}


def _asked(tmp_path: Path) -> Counter[str]:
    return Counter((tmp_path / "asked").read_text().splitlines())


@pytest.mark.faults
def test_rows_that_break_the_engine_are_set_aside_alone(
    ray_cluster: None, tmp_path: Path, teacher: SimilarityTeacher
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
    asked = _asked(tmp_path)
    # In its batch and alone.
    assert asked["row 05"] == asked["row 10"] == 2
    # Rows before a deadly one go with it in the batch, alone, and once more for each death after them.
    assert max(asked.values()) <= 4


def test_a_killed_worker_costs_its_batch_and_no_row(
    ray_cluster: None, tmp_path: Path, teacher: SimilarityTeacher
) -> None:
    stored = _store(tmp_path, teacher, {5: "killed once"})
    assert set(stored.values()) == {None}
    assert sum(_asked(tmp_path).values()) <= NUM_ROWS + BATCH


@pytest.mark.faults
def test_an_engine_that_fails_at_row_after_row_ends_the_job_and_keeps_what_is_done(
    ray_cluster: None, tmp_path: Path, teacher: SimilarityTeacher
) -> None:
    with pytest.raises(TeacherError, match=r"teachers\.tiny: its engine failed at \d rows in a row.*CUDA"):
        _store(tmp_path, teacher, dict.fromkeys(range(BATCH, NUM_ROWS), "engine"))
    assert stored_keys(str(tmp_path / "store")) == {f"row {number:02}" for number in range(BATCH)}
    asked = _asked(tmp_path)
    _store(tmp_path, teacher, {})
    assert all(_asked(tmp_path)[f"row {number:02}"] == asked[f"row {number:02}"] for number in range(BATCH))


def test_a_teacher_at_fault_ends_the_job_at_once(
    ray_cluster: None, tmp_path: Path, teacher: SimilarityTeacher
) -> None:
    with pytest.raises(TeacherError, match=r"teachers\.tiny: the key is wrong"):
        _store(tmp_path, teacher, {0: "key"})


def test_a_file_that_was_cut_off_is_made_again(
    ray_cluster: None, tmp_path: Path, teacher: SimilarityTeacher
) -> None:
    _store(tmp_path, teacher, {})
    first = min((tmp_path / "store").glob("*.parquet"))
    lost = {row["key"] for row in read_rows(str(first))}
    first.write_bytes(first.read_bytes()[:-20])  # the footer is written last
    (tmp_path / "asked").unlink()
    work = [{"key": key, "folder": str(tmp_path), "fault": None} for key in sorted(lost)]
    missing = [row for row in work if row["key"] not in stored_keys(str(tmp_path / "store"))]
    assert {row["key"] for row in missing} == lost
    task = Task("tests", "rows", _WANTED, PAIR_SCORES, _run, _aside)
    run_teacher("tiny", teacher, task, missing, BATCH, str(tmp_path / "store"), str(tmp_path / "notes"))
    assert set(_asked(tmp_path)) == lost
    assert len(stored_keys(str(tmp_path / "store"))) == NUM_ROWS


def test_the_key_of_a_text_is_its_own() -> None:
    assert content_key(["a", "b"]) != content_key(["a b"]) != content_key("a", "b")
    assert len(content_key("é")) == 32
