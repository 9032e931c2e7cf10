"""Workers that store what they make: while the engine computes, and while another job stores the same."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import S3FileSystem

from teachers.config import EndpointTeacher
from teachers.dataset import read_rows
from teachers.engines.protocol import Teacher
from teachers.inference.attempts import start_ledger
from teachers.inference.store import Row, open_store
from teachers.inference.tasks import Task, TeacherWork
from teachers.inference.work_files import work_files, write_work
from teachers.inference.worker import Worker
from teachers.records import PAIR_SCORES
from teachers.storage import open_uri
from tests.s3_server import faulty_bucket

BATCH = 4
TEACHER = EndpointTeacher(kind="endpoint", base_url="http://127.0.0.1:9/v1", model="tiny")
_REQUESTS = pa.schema([("key", pa.string())])


def make(_: Teacher, rows: list[Row]) -> list[Row]:
    """Return the same score for each row."""
    empty = dict.fromkeys(PAIR_SCORES.names)
    return [{**empty, "key": row["key"], "similarity": 0.5} for row in rows]


def rows_of(*numbers: int) -> list[Row]:
    """Return rows of work; those of one batch lie in one file of the store."""
    return [{"key": f"row {number:02}"} for number in numbers]


@pytest.fixture
def worker(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Worker]:
    """Function that starts a worker in this process, for a run directory, a store and an engine's work."""
    engine = SimpleNamespace(check=lambda *_: "checked")
    monkeypatch.setattr("teachers.inference.worker.start_teacher", lambda *_: engine)

    def start(run: str, store: str, run_batch: Callable[[Teacher, list[Row]], list[Row]]) -> Worker:
        task = Task("tests", "rows", _REQUESTS, PAIR_SCORES, run_batch, reject=lambda row, _: [row])
        return Worker(TeacherWork("tiny", TEACHER, task, BATCH, store, f"{run}/notes"), start_ledger())

    return start


def test_a_batch_is_uploaded_while_the_engine_computes_the_next(
    worker: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_computes = threading.Event()

    def run_batch(teacher: Teacher, rows: list[Row]) -> list[Row]:
        if rows == rows_of(4, 5, 6, 7):
            second_computes.set()
        return make(teacher, rows)

    with faulty_bucket() as bucket:
        filesystem, _ = open_uri(bucket.at(""))
        # A request that is answered late is not sent again.
        _, [arguments] = filesystem.__reduce__()
        filesystem = S3FileSystem(**{**arguments, "request_timeout": 60})
        monkeypatch.setattr("teachers.storage._s3", lambda _: filesystem)
        write_work(str(tmp_path / "work"), rows_of(*range(8)), _REQUESTS, 8)
        one = worker(str(tmp_path), "s3://runs/store", run_batch)

        # The first upload ends once the second batch is under way: without overlap, not at all.
        overlaps: list[bool] = []
        bucket.before_put = lambda: overlaps.append(second_computes.wait(10))
        list(one(pa.table({"file": work_files(str(tmp_path / "work"))})))
        assert overlaps == [True, True]
        assert len(read_rows("s3://runs/store")) == 8


def test_two_jobs_that_store_the_same_batches_at_once_leave_whole_files_and_nothing_else(
    worker: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    # Both do rows 0 to 7, then four of their own.
    jobs = {"one": rows_of(*range(8), 8, 9, 10, 11), "other": rows_of(*range(8), 12, 13, 14, 15)}
    workers = {name: worker(str(tmp_path / name), str(store), make) for name in jobs}
    for name, rows in jobs.items():
        write_work(str(tmp_path / name / "work"), rows, _REQUESTS, BATCH)

    # Nobody ends a file of both before the other has begun it.
    both_begin = {"row 00": threading.Barrier(2), "row 04": threading.Barrier(2)}
    write_table = pq.write_table

    def write_with_the_other(table: pa.Table, stream: Any) -> None:
        barrier = both_begin.get(table["key"][0].as_py())
        if barrier is not None:
            barrier.wait(10)
        write_table(table, stream)

    def run(name: str) -> list[int]:
        made = workers[name](pa.table({"file": work_files(str(tmp_path / name / "work"))}))
        return [int(count) for count in pa.concat_tables(made)["made"].to_pylist()]

    monkeypatch.setattr(pq, "write_table", write_with_the_other)
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(run, jobs)) == [[BATCH] * 3] * 2

    stored = open_store(str(store))
    assert stored is not None
    assert sorted(stored.to_table(["key"])["key"].to_pylist()) == [row["key"] for row in rows_of(*range(16))]
    names = [file.name for file in store.iterdir()]
    assert len(names) == 4 and all(re.fullmatch(r"[0-9a-f]{32}\.parquet", name) for name in names)
