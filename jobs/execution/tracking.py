"""Where a run's numbers go: the training history in the run directory, and Weights & Biases.

Both only observe: neither can stop a run.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import wandb
from ray.train import Checkpoint, UserCallback
from ray.train.v2.api.context import TrainContext

from jobs.execution.run_directory import RunDirectory
from teachers.storage import read_text, without_credentials, write_text

logger = logging.getLogger(__name__)


def trial_name() -> str | None:
    """Return the run directory's name of a trial that W&B's agent started: trials must not share one."""
    sweep, run = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    return f"{sweep}-{run}" if sweep and run else None


class History(UserCallback):
    """Keeps the training workers' reports as JSON Lines; runs on Ray Train's controller."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lines = (read_text(uri) or "").splitlines()

    def after_report(
        self, run_context: TrainContext, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        """Rewrites the file, since object stores cannot append; metrics are rank 0's.

        Steps that are taken again, from the last checkpoint on, replace those that were lost.
        """
        report = metrics[0]
        while self._lines and json.loads(self._lines[-1])["step"] >= report["step"]:
            self._lines.pop()
        self._lines.append(json.dumps(report))
        write_text(self._uri, "\n".join(self._lines))


class Tracker:
    """One W&B run, offline unless WANDB_MODE is set; it starts with the first metric. No project, no run."""

    def __init__(
        self, project: str | None, folder: str, config: dict[str, Any], group: str | None = None
    ) -> None:
        self._settings: dict[str, Any] = {"project": project, "dir": folder, "config": config, "group": group}
        self._run: Any = None

    def log(self, metrics: dict[str, Any]) -> None:
        if self._settings["project"] is not None:
            self._attempt(lambda: self._started().log(metrics))

    def log_tables(self, tables: Mapping[str, tuple[list[str], list[list[Any]]]]) -> None:
        """Tables by name: columns and rows of plain cells."""

        def send() -> None:
            logged = {}
            for name, (columns, rows) in tables.items():
                logged[name] = wandb.Table(columns=columns, data=rows)
            self._started().log(logged)

        if self._settings["project"] is not None:
            self._attempt(send)

    def finish(self) -> None:
        if self._run is not None:
            self._attempt(self._run.finish)

    def _started(self) -> Any:
        if self._run is None:
            if trial_name() is None:  # an agent of W&B's has a server
                os.environ.setdefault("WANDB_MODE", "offline")
            os.environ.setdefault("WANDB_SILENT", "true")
            with _shown_arguments():
                self._run = wandb.init(**self._settings)
        return self._run

    def _attempt(self, send: Callable[[], object]) -> None:
        try:
            send()
        except Exception as error:  # a sink: whatever is wrong with it, the job goes on
            logger.warning("W&B: %s", error)


@contextmanager
def _shown_arguments() -> Iterator[None]:
    """Hide credentials in the command's arguments, which W&B keeps as it finds them."""
    arguments = sys.argv
    sys.argv = list(map(without_credentials, arguments))
    try:
        yield
    finally:
        sys.argv = arguments


class TrainingReports:
    """Reads the training history that the controller writes, for progress and tracking."""

    def __init__(self, run: RunDirectory, history: tuple[str, ...], tracker: Tracker) -> None:
        self._run = run
        self._history = history
        self._tracker = tracker
        self._logged = 0
        self._newest: dict[str, Any] = {}

    @property
    def uri(self) -> str:
        """Where the history lies."""
        return self._run.at(*self._history)

    def lines(self) -> list[dict[str, Any]]:
        """All reports, oldest first."""
        return [json.loads(line) for line in (self._run.read_text(*self._history) or "").splitlines()]

    def total_steps(self) -> int:
        """0 until the first report."""
        return int(self._newest.get("steps", 0))

    def steps_done(self) -> int:
        """Steps of the newest report."""
        self._newest = next(reversed(self.lines()), {})
        return int(self._newest.get("step", 0))

    def losses(self) -> str:
        """The newest report's losses, for the progress line."""
        parts = []
        for name in ("loss", "cross_entropy", "kl", "context_terms", "response_terms"):
            if name in self._newest:
                parts.append(f"{name.replace('_', ' ')} {self._newest[name]:.4g}")
        return ", ".join(parts)

    def validations(self) -> str | None:
        """Return a line about the validations since the last call, and track all new reports."""
        validation: dict[str, Any] | None = None
        for line in self.lines():
            if line["step"] > self._logged:
                self._logged = line["step"]
                self._tracker.log({f"train/{name}": value for name, value in line.items()})
                validation = line if "validation_loss" in line else validation
        if validation is None:
            return None

        titles = {"validation_mrr": "MRR", "validation_hits@1/20": "hits@1/20", "validation_loss": "loss"}
        measures = [f"{titles[name]} {validation[name]:.3f}" for name in titles if name in validation]
        return f"validation at step {validation['step']}: {', '.join(measures)}"
