"""Errors that end a training, each one line that names the last checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray.train
import torch
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from teachers.storage import list_names

CHECKPOINT_PREFIX = "checkpoint-"


class TrainingError(ValueError):
    """Training cannot continue, and a retry would fail, too; the message is one line."""


class FailFast(ray.train.UserCallback):
    """End training at a TrainingError; Ray Train takes any error for a lost worker and would retry."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            cause = getattr(error, "_base_exc", error)
            if isinstance(cause, TrainingError):
                raise cause


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Turn a lack of memory into a TrainingError that ends with the advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_out_of_memory and "can't allocate memory" not in str(error):
            raise
        raise TrainingError(f"out of memory; {advice}") from error


@contextmanager
def concise_errors(training_uri: str, less_memory: str) -> Iterator[None]:
    """Turn Ray Train's errors into one line with the cause and the last checkpoint.

    `less_memory` is the advice for a lack of memory.
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
    """Return a phrase that names the newest complete checkpoint under `training_uri`."""
    checkpoints = [name for name in list_names(training_uri) if name.startswith(CHECKPOINT_PREFIX)]
    if not checkpoints:
        return "there is no checkpoint"
    return f"the last checkpoint is {training_uri}/{checkpoints[-1]}"
