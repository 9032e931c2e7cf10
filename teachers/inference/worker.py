"""Teachers at work: a Ray Data pipeline of actors for one teacher, from wanted rows to rows of the store.

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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from teachers.config import EndpointTeacher, SimilarityTeacher, TeacherConfig
from teachers.engines.protocol import DEFAULT_MAX_TOKENS, Teacher, TeacherError
from teachers.inference.attempts import Attempts, start_ledger
from teachers.inference.store import Row, content_key
from teachers.inference.telemetry import TeacherMetrics
from teachers.inference.work_files import work_files
from teachers.storage import (
    absolute,
    list_names,
    make_empty_folder,
    make_folder,
    open_uri,
    read_json,
    write_atomically,
    write_json,
)

_TRANSFERS_AT_ONCE = 4
# Files of work that a worker gets at once in a long job: it waits for storage once, at their end.
_FILES_AT_ONCE = 8
_STDERR = 2  # the file descriptor; a worker's sys.stderr may be another object


@dataclass(frozen=True)
class Task:
    """What a worker does with rows of work, each of which has a `key`."""

    name: str
    """What a teacher does, as in "gemma3 scores"."""
    unit: str
    """What is done, in the plural."""
    request_schema: pa.Schema
    """Of the rows that come in."""
    made: pa.Schema
    """Of the rows that go to the store."""
    run: Callable[[Teacher, list[Row]], list[Row]]
    reject: Callable[[Row, str], list[Row]]
    """Rows for the store in place of a row that the teacher can't do, with the error."""
    scores: bool = False
    """Whether it asks for scores, which the teacher then shows to be right."""
    max_tokens: int = DEFAULT_MAX_TOKENS
    """Of what it has the teacher write."""


class Made(NamedTuple):
    """Rows that one replica has made, and how long it computed."""

    num_rows: int
    seconds: float


@dataclass(frozen=True)
class TeacherWork:
    """A task for one teacher, and where its rows and notes go."""

    name: str
    config: TeacherConfig
    task: Task
    batch_size: int
    store_uri: str
    notes_uri: str

    def with_absolute_uris(self) -> "TeacherWork":
        """Return the same work for processes with another working directory."""
        return replace(self, store_uri=absolute(self.store_uri), notes_uri=absolute(self.notes_uri))


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


class Notes:
    """Small files by which a worker tells the job what its check showed, and why it can't work."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        make_folder(uri)

    def clear(self) -> None:
        make_empty_folder(self._uri)

    def read(self, name: str) -> Any:
        """What a note says; None where there is none."""
        return read_json(f"{self._uri}/{name}.json")

    def read_all(self) -> list[Any]:
        """What all notes say."""
        names = [name for name in list_names(self._uri) if name.endswith(".json")]
        notes = [self.read(name.removesuffix(".json")) for name in names]
        return [note for note in notes if note is not None]

    def write(self, name: str, content: Any) -> None:
        # Atomically: the job reads while a worker writes.
        write_json(f"{self._uri}/{name}.json", content)

    @contextmanager
    def of_failure(self) -> Iterator[None]:
        """Notes why the teacher can't work, for the job to show in one line."""
        try:
            yield
        except ValueError as error:
            self.write("failure", str(error))
            raise


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


def run_teacher(work: TeacherWork, work_uri: str) -> Iterator[Made]:
    """Have one teacher do the rows at `work_uri` (see `write_work`); end when all are in the store.

    Yields what a replica has made, whenever it has.

    Raises:
        TeacherError: the teacher can't work, and why.
    """
    name, config = work.name, work.config
    notes = Notes(work.notes_uri)
    notes.clear()
    make_folder(work.store_uri)

    files = blocks_of_files(work_files(absolute(work_uri)), config.at_most())

    try:
        blocks = ray.data.from_arrow(files)
        # So that each batch is seen when it is made, and not when its block of files is.
        blocks.context.target_max_block_size = 1
        made = blocks.map_batches(
            Worker,
            fn_constructor_args=(work.with_absolute_uris(), start_ledger()),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=config.num_cpus,
            num_gpus=config.num_gpus or None,
            compute=_pool(config, len(files)),
            label_selector=config.node_labels or None,
            accelerator_type=config.accelerator_type,
        )
        for counts in made.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield Made(sum(counts["made"].to_pylist()), sum(counts["seconds"].to_pylist()))
    except Exception:
        failure = notes.read("failure")
        if failure is None:
            raise
        # As the error it was in the actor, not as the actor's death.
        raise TeacherError(failure if name in failure else f"teachers.{name}: {failure}") from None
    notes.clear()


def blocks_of_files(files: list[str], num_workers: int) -> list[pa.Table]:
    """Several files each where there are enough for all workers to get blocks again and again, else one."""
    size = max(1, min(_FILES_AT_ONCE, len(files) // (4 * num_workers)))
    return [pa.table({"file": files[start : start + size]}) for start in range(0, len(files), size)]


def sanity_line(notes_uri: str) -> str | None:
    """What the teacher showed before its first row; None until it has."""
    line: str | None = Notes(notes_uri).read("check")
    return line


def _pool(config: TeacherConfig, num_files: int) -> ray.data.ActorPoolStrategy:
    """All replicas that there is work for are asked for at once, with their labels: so an autoscaler brings
    nodes for them. A pool that may shrink could give up those that wait: its share is of what is there."""
    return ray.data.ActorPoolStrategy(size=min(config.at_most(), max(config.at_least(), num_files)))
