"""A job: what its stages share, and how each stage is done once."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ray.train import UserCallback

from jobs.config import JobConfig
from jobs.execution.inputs import pinned
from jobs.execution.run_directory import RunDirectory, key_of
from jobs.execution.tracking import Tracker

logger = logging.getLogger(__name__)

ConfigT = TypeVar("ConfigT", bound=JobConfig)
OtherConfigT = TypeVar("OtherConfigT", bound=JobConfig)
Counts = dict[str, Any]


@dataclass(frozen=True)
class Stage(Generic[ConfigT]):
    """A step from datasets to a dataset, done once for the stages before it and its settings."""

    name: str
    after: tuple[str, ...]
    """Stages whose output it reads; their keys are part of its own."""
    settings: "Callable[[Job[ConfigT]], Sequence[Any]]"
    """Whatever else its output depends on."""
    run: "Callable[[Job[ConfigT]], Counts]"
    """Writes its dataset and returns counts."""
    then: "Callable[[Job[ConfigT], Counts], None] | None" = None
    """Takes the counts each time, also where the stage was done before."""
    applies: "Callable[[Job[ConfigT]], bool] | None" = None
    """Whether the config asks for the stage; it always does where not given."""


class Job(Generic[ConfigT]):
    """One job: its config, its run directory, its tracker, and the keys of the stages so far."""

    def __init__(self, config: ConfigT, run: RunDirectory, tracker: Tracker) -> None:
        self.config = config
        self.run = run
        self.tracker = tracker
        self.teachers = pinned(config.teachers_by_name())
        """After fine-tuning, those with new weights."""
        self.store = config.store or f"{run.uri.rsplit('/', 1)[0]}/store"
        self.keys: dict[str, str] = {}
        """Stage -> key, in the order in which the stages came."""
        self.training_callbacks: list[UserCallback] = []

    def child(self, config: OtherConfigT, *folder: str, borrows: Iterable[str] = ()) -> "Job[OtherConfigT]":
        """Return a job that continues from this one in a folder of its run.

        It reads the datasets that it `borrows` from this job's run, and tracks nothing by itself.
        """
        run = RunDirectory(self.run.at(*folder), lender=self.run, borrowed=frozenset(borrows))
        child = Job(config, run, Tracker(None, ".", {}))
        child.teachers = dict(self.teachers)
        child.store = self.store
        child.keys = dict(self.keys)
        return child

    def do_all(
        self,
        steps: "Iterable[Step[ConfigT]]",
        until: str | None = None,
        checks: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        """Do the steps in their order, up to and with the one named `until`.

        `checks` run right after the steps of their names: of what would fail only after hours of later ones.
        """
        for step in steps:
            if isinstance(step, Stage):
                self.do(step)
            else:
                step(self)

            name = name_of(step)
            if checks and name in checks:
                checks[name]()
            if name == until:
                return

    def do(self, stage: "Stage[ConfigT]") -> Counts:
        """Do one stage unless it was done before; return its counts."""
        if stage.applies is not None and not stage.applies(self):
            return {}

        counts = self.once(stage.name, self.key(stage), lambda: stage.run(self))
        if stage.then is not None:
            stage.then(self, counts)
        return counts

    def key(self, stage: "Stage[ConfigT]") -> str:
        """Return the hash of what the stage's output depends on."""
        before = [self.keys[name] for name in stage.after]
        return key_of(*before, *stage.settings(self))

    def once(self, name: str, key: str, work: Callable[[], Counts]) -> Counts:
        """Do the work unless it was done under this key before; return its counts."""
        self.keys[name] = key
        marker = self.run.read_json("stages", f"{name}.json")
        if marker is not None and marker["key"] == key:
            logger.info("%s: done before in %.0f s", name, marker["seconds"])
            return dict(marker["counts"])

        logger.info("%s …", name)
        start = time.monotonic()
        counts = dict(work())
        seconds = time.monotonic() - start

        self.run.write_json({"key": key, "seconds": seconds, "counts": counts}, "stages", f"{name}.json")
        _log_counts(name, seconds, counts)
        return counts

    def seconds(self) -> dict[str, float]:
        """How long each stage took when it was done."""
        return {name: self.run.read_json("stages", f"{name}.json")["seconds"] for name in self.keys}

    def log_timings(self) -> None:
        """Log how long each stage took when it was done."""
        seconds = self.seconds()
        parts = ", ".join(f"{name} {seconds[name]:.0f}" for name in seconds)
        logger.info("seconds by stage: %s; together %.0f", parts, sum(seconds.values()))


Step = Stage[ConfigT] | Callable[[Job[ConfigT]], None]
"""A stage, or a function that does several of a number that the config says."""


def name_of(step: "Step[Any]") -> str:
    """Return the name by which `--until` knows a step."""
    return step.name if isinstance(step, Stage) else step.__name__


def warn(counts: Counts) -> None:
    """Log the warning that a stage's counts carry, if there is one."""
    if "warning" in counts:
        logger.warning("%s", counts["warning"])


def _log_counts(name: str, seconds: float, counts: Counts) -> None:
    total = _in_words(counts)
    logger.info("%s: %.0f s%s", name, seconds, f" · {total}" if total else "")

    for part, values in counts.items():
        if isinstance(values, dict) and _in_words(values):
            logger.info("  %s: %s", part, _in_words(values))


def _in_words(counts: Counts) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if isinstance(count, int))
