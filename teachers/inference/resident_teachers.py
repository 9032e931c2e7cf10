"""Teachers that stay: actors whose engines start once and answer batch after batch, from many callers."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from teachers.engines.protocol import TeacherError
from teachers.inference.attempts import start_ledger
from teachers.inference.notes import Notes
from teachers.inference.store import Row
from teachers.inference.tasks import TeacherWork
from teachers.inference.worker import Worker, stored_batch
from teachers.storage import make_folder

# One that is lost says so at once: its process takes longer to start again.
_BEFORE_ASKING_ANOTHER_S = 1.0


@dataclass(frozen=True)
class TeacherReplicas:
    """One teacher's actors, and where their rows are kept."""

    store_uri: str
    notes_uri: str
    replicas: list[Any]


class ResidentTeachers:
    """Teachers by name, for any process of the cluster; the actors end with the one that started them."""

    def __init__(self, teachers: Mapping[str, TeacherReplicas]) -> None:
        self._teachers = teachers
        self._replicas: dict[str, _Replicas] = {}

    @property
    def num_replicas(self) -> int:
        return sum(len(teacher.replicas) for teacher in self._teachers.values())

    def make(self, requests: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
        """Return for each teacher the rows that it makes of its rows of work, all teachers at once.

        Rows that were made of the very same batch before are read from the store. Where a replica is lost,
        with its process or its node, another one gets the batch.
        """
        stored = {}
        pending = {}
        for name, rows in requests.items():
            stored[name] = stored_batch(self._teachers[name].store_uri, rows)
            if stored[name] is None:
                pending[name] = self._ask(name, rows)

        made = {}
        for name, rows in requests.items():
            batch = stored[name]
            made[name] = self._answer(name, rows, pending[name]) if batch is None else batch
        return made

    def _ask(self, name: str, rows: list[Row]) -> ray.ObjectRef:
        if name not in self._replicas:  # each process learns by itself which have started
            self._replicas[name] = _Replicas(self._teachers[name].replicas)
        return self._replicas[name].one().make.remote(rows)

    def _answer(self, name: str, rows: list[Row], pending: ray.ObjectRef) -> list[Row]:
        while True:
            try:
                made: list[Row] = ray.get(pending)
                return made
            except ray.exceptions.RayActorError:
                time.sleep(_BEFORE_ASKING_ANOTHER_S)
                pending = self._ask(name, rows)

    @contextmanager
    def of_failure(self) -> Iterator[None]:
        """Raises TeacherError where the body ends because a teacher can't work."""
        try:
            yield
        except Exception:
            for name, teacher in self._teachers.items():
                failure = Notes(teacher.notes_uri).read("failure")
                if failure is not None:
                    line = failure if name in failure else f"teachers.{name}: {failure}"
                    raise TeacherError(line) from None
            raise


class _Replicas:
    """Of a range of replicas some may wait for room, perhaps for ever: only those that began are asked."""

    def __init__(self, replicas: list[Any]) -> None:
        self._begun: list[Any] = []
        self._waiting = {replica.__ray_ready__.remote(): replica for replica in replicas}

    def one(self) -> Any:
        """One that has begun; waits for the first."""
        if self._waiting:
            seconds = 0 if self._begun else None
            ready, _ = ray.wait(list(self._waiting), num_returns=1, timeout=seconds)
            self._begun += [self._waiting.pop(signal) for signal in ready]
        return random.choice(self._begun)


class _ResidentTeacher:
    """A worker that starts its engine when it is first asked."""

    def __init__(self, work: TeacherWork, ledger: Any) -> None:
        self._work, self._ledger = work, ledger
        self._worker: Worker | None = None

    def make(self, rows: list[Row]) -> list[Row]:
        """Rows for the store of rows of work."""
        if self._worker is None:
            self._worker = Worker(self._work, self._ledger)
        return self._worker.make(rows)


def start_replicas(work: TeacherWork, num_callers: int) -> TeacherReplicas:
    """Start a teacher's replicas, as many as it may have and as there are callers at a time.

    A process that breaks is restarted; calls to it fail until then.
    """
    Notes(work.notes_uri).clear()
    make_folder(work.store_uri)

    work, config = work.with_absolute_uris(), work.config
    actor = ray.remote(_ResidentTeacher).options(
        num_cpus=config.num_cpus,
        num_gpus=config.num_gpus or None,
        accelerator_type=config.accelerator_type,
        label_selector=config.node_labels or None,
        max_restarts=-1,
    )

    count = min(config.at_most(), max(config.at_least(), num_callers))
    ledger = start_ledger()
    replicas = [actor.remote(work, ledger) for _ in range(count)]
    return TeacherReplicas(work.store_uri, work.notes_uri, replicas)
