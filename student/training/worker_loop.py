"""The loop that each training worker runs, for students and language models alike.

A `TrainingTask` holds what differs: the batches, the step, the validation, and how the model is written.
"""

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import ray.train
import torch
from torch import Tensor

from student.config import TrainingConfig
from student.training.checkpoints import TrainingState, resume, save
from student.training.deepspeed_engine import start_engine
from student.training.errors import TrainingError
from student.training.sparsity import State as SparsityState

Batch = TypeVar("Batch")
WriteModel = Callable[[dict[str, Tensor], Path], None]
"""Writes the model with the trained weights, by name, into a folder."""


class TrainingTask(ABC, Generic[Batch]):
    """A model in training on one worker; every worker calls the methods alike."""

    section: str
    """The section of the config that errors name"""
    rows_per_step: int

    @abstractmethod
    def batches(self, steps_done: int) -> Iterator[Batch]:
        """The batches of the steps after the first `steps_done`, the same on every worker."""

    @abstractmethod
    def train_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Take the step, and return its losses and measures; `step` counts from 1."""

    @abstractmethod
    def validate(self) -> tuple[dict[str, float], WriteModel]:
        """Measures by all workers, empty without validation rows, and the writer of the model as measured."""

    def has_converged(self, state: TrainingState) -> bool:
        """Whether training stops before its last step."""
        return False

    def sparsity_state(self) -> SparsityState | None:
        """The state that a sparse student's checkpoint keeps."""
        return None


def prepare_worker(config: TrainingConfig) -> None:
    """Set the accelerator and the number of threads; before the model is built."""
    os.environ["DS_ACCELERATOR"] = "cuda" if config.use_gpu else "cpu"  # DeepSpeed guesses otherwise
    torch.set_num_threads(config.cpus_per_worker)


def start_or_resume(
    model: torch.nn.Module, config: TrainingConfig, num_steps: int
) -> tuple[Any, TrainingState, dict[str, str]]:
    """The engine and the state to continue from, and a `warning` about a damaged checkpoint, if any."""
    num_updates = num_steps // config.accumulation_steps
    return resume(partial(start_engine, model, config, num_updates), config)


def run_steps(
    task: TrainingTask[Batch], engine: Any, state: TrainingState, config: TrainingConfig, num_steps: int
) -> dict[str, Any]:
    """Take the remaining steps, report and save checkpoints, and return the last report."""
    metrics: dict[str, Any] = {}
    means = Means(task.rows_per_step)
    batches = task.batches(state.step)

    for step in range(state.step + 1, num_steps + 1):
        if task.has_converged(state):
            break

        with means.waiting():
            batch = next(batches)
        means.add(task.train_step(batch, step))

        at_checkpoint = step % config.checkpoint_every_steps == 0 or step == num_steps
        if not at_checkpoint and step % config.report_every_steps:
            continue

        metrics = means.take(step, num_steps, engine, task.section)
        if not at_checkpoint:
            ray.train.report(metrics)
            continue

        measures, write_model = task.validate()
        check_finite(measures, step, num_steps, task.section)
        metrics |= measures
        state = state.after(step, metrics.get("validation_mrr"), task.sparsity_state())
        save(engine, state, metrics, write_model)

    return metrics


def check_finite(values: Mapping[str, float], step: int, num_steps: int, section: str) -> None:
    """Raise TrainingError where a value, the same on all workers, is not finite: the model is of no use."""
    for name, value in values.items():
        if not math.isfinite(value):
            words = name.replace("_", " ")
            raise TrainingError(
                f"step {step} of {num_steps}: the {words} is {value}; lower {section}.learning_rate"
            )


class Means:
    """Means over the steps since the last report, the same on every worker."""

    def __init__(self, rows_per_step: int) -> None:
        self._rows_per_step = rows_per_step
        self._reset()

    def _reset(self) -> None:
        self._values: dict[str, list[float]] = {}
        self._since = time.monotonic()
        self._waited_s = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for rows."""
        begin = time.monotonic()
        yield
        self._waited_s += time.monotonic() - begin

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one step's values."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(value.item())

    def take(self, step: int, num_steps: int, engine: Any, section: str) -> dict[str, float]:
        """Return the report at `step` of `num_steps`, means and rates, and start over.

        Raises:
            TrainingError: the loss is not finite, on all workers alike; names the key in `section`.
        """
        seconds = time.monotonic() - self._since
        rows = len(self._values["loss"]) * self._rows_per_step

        means = {name: sum(values) / len(values) for name, values in self._values.items()}
        check_finite({"loss": means["loss"]}, step, num_steps, section)

        rates = {"contexts_per_s": rows / seconds, "data_share": self._waited_s / seconds}
        self._reset()
        return {"step": step, "steps": num_steps, "learning_rate": engine.get_lr()[0], **means, **rates}
