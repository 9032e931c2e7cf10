"""What can end a training, each as one clear line that names the last checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray.train
import torch
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from teachers.storage import list_names

CHECKPOINT_PREFIX = "checkpoint-"


class TrainingError(ValueError):
    """Training cannot go on, and trying again would not help; the message is one line."""


class NoSecondTry(ray.train.UserCallback):
    """Ends training at a TrainingError; Ray Train takes any error for a lost worker and would try again."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            cause = getattr(error, "_base_exc", error)
            if isinstance(cause, TrainingError):
                raise cause


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Turns a lack of memory into a TrainingError with the advice what to do about it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(
            error
        )
        if not full:
            raise
        raise TrainingError(f"out of memory; {advice}") from error


@contextmanager
def in_one_line(training_uri: str, less_memory: str) -> Iterator[None]:
    """Turns Ray Train's errors into one line with the cause and the last checkpoint.

    `less_memory` says what to do where memory did not suffice.
    """
    try:
        yield
    except ControllerError as error:
        raise ValueError(f"{error.controller_failure}; {_last_checkpoint(training_uri)}") from None
    except WorkerGroupError as error:
        rank, failure = min(error.worker_failures.items())
        lines = str(failure).strip().splitlines() or [type(failure).__name__]
        advice = f"; {less_memory}" if "memory" in str(failure).lower() else ""
        cause = f"training worker {rank} failed too often: {lines[-1]}{advice}"
        raise ValueError(f"{cause}; {_last_checkpoint(training_uri)}") from error


def _last_checkpoint(training_uri: str) -> str:
    """Names the newest whole checkpoint under `training_uri`."""
    checkpoints = [name for name in list_names(training_uri) if name.startswith(CHECKPOINT_PREFIX)]
    return (
        f"the last checkpoint is {training_uri}/{checkpoints[-1]}"
        if checkpoints
        else "there is no checkpoint"
    )
