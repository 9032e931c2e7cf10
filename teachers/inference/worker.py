"""A teacher's worker: an actor of `teachers.inference.pipeline` that makes rows for the store.

Faults, and what comes of them:
- an actor, its node or the whole job dies: Ray Data, or the next job, does the batches that are not stored;
- an engine breaks or hangs: its process ends itself, Ray starts another, and the batch is tried in halves;
- a row that takes its process down also when tried alone, or whose output cannot be stored, is stored with
  an error;
- storage fails: its requests are sent again, for minutes (`teachers.storage`);
- the teacher itself is at fault (no weights, a wrong key, an engine that never works, a server that is down):
  the job ends, and no row is blamed.
"""

import faulthandler
import os
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from teachers.config import EndpointTeacher, SimilarityTeacher, TeacherConfig
from teachers.engines.protocol import Teacher, TeacherError
from teachers.inference.attempts import Attempts
from teachers.inference.notes import Notes
from teachers.inference.store import Row, content_key
from teachers.inference.tasks import TeacherWork
from teachers.inference.telemetry import TeacherMetrics
from teachers.storage import open_uri, write_atomically

_TRANSFERS_AT_ONCE = 4
_STDERR = 2  # the file descriptor; a worker's sys.stderr may be another object


class Worker:
    """Ray Data actor: names of files of work in; their batches go to the store, and their counts out."""

    def __init__(self, work: TeacherWork, ledger: Any) -> None:
        self._config = work.config
        self._task = work.task
        self._batch_size = work.batch_size
        self._store_uri = work.store_uri
        self._notes = Notes(work.notes_uri)
        self._attempts = Attempts(ledger)
        self._metrics = TeacherMetrics(work.name, work.task.name)
        # Storage is read and written while the engine computes.
        self._transfers = ThreadPoolExecutor(_TRANSFERS_AT_ONCE)

        with self._notes.of_failure():
            self._teacher = start_teacher(work.name, work.config)
            self._notes.write("check", self._teacher.check(self._task.scores, self._task.max_tokens))

    def __call__(self, files: pa.Table) -> Iterator[pa.Table]:
        """Yield for each batch the rows made and how long that took; at the end all are in the store."""
        uploads: list[Future[None]] = []
        names = files["file"].to_pylist()
        for file, batches in zip(names, self._transfers.map(self._batches, names), strict=True):
            # Where a node was lost after some batches of the file, these are stored.
            was_begun = self._attempts.begin_file(file)
            for batch in batches:
                rows = batch.to_pylist()
                stored = _num_rows(_batch_uri(self._store_uri, rows)) if was_begun else None
                if stored is not None:
                    yield _made(stored, 0.0)
                    continue

                start = time.monotonic()
                made = self._make(rows)
                seconds = time.monotonic() - start
                uploads.append(self._transfers.submit(self._store, rows, made))
                yield _made(len(made), seconds)

        for upload in uploads:
            upload.result()

    def _batches(self, file: str) -> list[pa.Table]:
        filesystem, path = open_uri(file)
        work = pq.read_table(path, filesystem=filesystem)
        return [work.slice(start, self._batch_size) for start in range(0, len(work), self._batch_size)]

    def make(self, rows: list[Row]) -> list[Row]:
        """Rows for the store, where they are then, that are made of `rows`."""
        made = self._make(rows)
        self._store(rows, made)
        return made

    def _make(self, rows: list[Row]) -> list[Row]:
        with self._notes.of_failure():
            made = self._attempt(rows, is_part=False)
        self._metrics.made(made)
        return made

    def _store(self, rows: list[Row], made: list[Row]) -> None:
        """Write what was made of a batch; it is a file of its own."""
        with write_atomically(_batch_uri(self._store_uri, rows)) as stream:
            pq.write_table(pa.Table.from_pylist(made, schema=self._task.made), stream)

    def _check_storable(self, made: list[Row]) -> None:
        """Raises ValueError where a row has no place in the store, as one with half of a character."""
        try:
            pa.Table.from_pylist(made, schema=self._task.made)
        except (pa.ArrowException, TypeError, OverflowError) as problem:
            raise ValueError(f"{type(problem).__name__}: {problem}") from problem

    def _attempt(self, rows: list[Row], is_part: bool) -> list[Row]:
        """Rows made of `rows`: together, or by halves where an attempt at them ended badly.

        A row is rejected where it was tried twice: alone, and before that with others or alone.
        """
        key = _attempt_key(rows, is_part)
        made, error = self._attempts.state(key)
        if made is not None:
            return made

        outcome: list[Row] | str = self._try(rows, key) if error is None else error
        if not isinstance(outcome, str):
            made = outcome
        elif len(rows) == 1 and is_part:
            if error is not None:
                self._attempts.count_death(error)
            made = self._task.reject(rows[0], _as_text(outcome))
        else:
            self._metrics.tries_again()
            made = [row for half in _halves(rows) for row in self._attempt(half, is_part=True)]

        if is_part:
            self._attempts.keep(key, made)
        return made

    def _try(self, rows: list[Row], key: str) -> list[Row] | str:
        """Rows made of `rows`, or what is wrong with them; a broken engine ends the process."""
        seconds = self._config.batch_timeout_s
        self._attempts.start(key, f"the process died, or did not answer within {seconds:g} s")
        # From a thread of C: it ends a process that hangs with the interpreter locked, too.
        faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
        try:
            made = self._task.run(self._teacher, rows)
            self._check_storable(made)
        except TeacherError:
            raise
        except ValueError as problem:  # vLLM refuses a request so before anything is computed
            self._attempts.forget(key)
            return str(problem)
        except Exception as problem:
            # What the engine still holds of this batch is unknown.
            self._attempts.fail(key, f"{type(problem).__name__}: {problem}")
            traceback.print_exc()
            os._exit(1)
        finally:
            faulthandler.cancel_dump_traceback_later()
        self._attempts.succeed(key)
        return made


def _made(num_rows: int, seconds: float) -> pa.Table:
    return pa.table({"made": [num_rows], "seconds": [seconds]})


def _as_text(error: str) -> str:
    """An error without what cannot be stored, as half of a character that it quotes."""
    return error.encode(errors="backslashreplace").decode()


def _halves(rows: list[Row]) -> list[list[Row]]:
    middle = len(rows) // 2
    return [half for half in (rows[:middle], rows[middle:]) if half]


def _attempt_key(rows: list[Row], is_part: bool) -> str:
    return f"{'part' if is_part else 'batch'}-{content_key([row['key'] for row in rows])}"


def _batch_uri(store_uri: str, rows: list[Row]) -> str:
    """URI of the file in the store that holds what is made of `rows`."""
    return f"{store_uri}/{content_key([row['key'] for row in rows])}.parquet"


def _num_rows(uri: str) -> int | None:
    """Number of rows of a Parquet file; None where there is none, or one that was cut off."""
    filesystem, path = open_uri(uri)
    try:
        return int(pq.read_metadata(path, filesystem=filesystem).num_rows)
    except (FileNotFoundError, pa.ArrowInvalid):
        return None


def stored_batch(store_uri: str, rows: list[Row]) -> list[Row] | None:
    """What `Worker.make` made of these `rows` before; None where it has not, or was cut off."""
    filesystem, path = open_uri(_batch_uri(store_uri, rows))
    try:
        rows_made: list[Row] = pq.read_table(path, filesystem=filesystem).to_pylist()
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    return rows_made


def start_teacher(name: str, config: TeacherConfig) -> Teacher:
    """A running teacher of the config's kind."""
    if isinstance(config, SimilarityTeacher):
        from teachers.engines.similarity import Similarity

        return Similarity(name, config)
    if isinstance(config, EndpointTeacher):
        from teachers.engines.openai_endpoint import Endpoint

        return Endpoint(name, config)
    from teachers.engines.vllm_engine import Engine

    return Engine(name, config)
