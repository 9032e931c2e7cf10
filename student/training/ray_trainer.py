"""Ray Train around a training loop: rows for the workers, checkpoints kept, the best one published."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import pyarrow.fs
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer
from torch import Tensor

from student.config import TrainingConfig
from student.training.checkpoints import MODEL_FOLDER
from student.training.errors import NoSecondTry, TrainingError, in_one_line
from teachers.dataset import Rows
from teachers.storage import absolute, make_empty_folder, open_uri


@dataclass(frozen=True)
class TrainingLocation:
    """The folders that a training writes."""

    output_uri: str
    """The best model"""
    storage_uri: str
    """Ray Train's runs"""
    run_name: str
    """The run's folder of checkpoints below `storage_uri`"""


@dataclass(frozen=True)
class WorkerLoop:
    """The function that each worker runs, and its argument."""

    function: Callable[[dict[str, Any]], dict[str, Any]]
    config: dict[str, Any]
    memory_advice: str
    """How a user lowers the memory that the loop needs"""


@dataclass(frozen=True)
class ModelSelection:
    """The reported metric that chooses the best checkpoint; None chooses the last."""

    metric: str | None
    mode: Literal["min", "max"]


class ScoredCheckpoint(NamedTuple):
    """A checkpoint with the metrics of its report."""

    checkpoint: ray.train.Checkpoint
    metrics: dict[str, Any]


def fit(
    loop: WorkerLoop,
    config: TrainingConfig,
    location: TrainingLocation,
    callbacks: list[ray.train.UserCallback],
    selection: ModelSelection,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the loop on every worker, and publish the best checkpoint's model at the location's `output_uri`.

    Returns the best checkpoint's metrics, and the loop's result. The same call resumes from the newest
    checkpoint.

    Raises:
        ValueError: training cannot continue; one line gives the cause and the last checkpoint.
    """
    trainer = TorchTrainer(
        loop.function,
        train_loop_config=loop.config,
        torch_config=TorchConfig(backend="nccl" if config.use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": config.cpus_per_worker, "GPU": int(config.use_gpu)},
            label_selector=config.node_labels or None,
        ),
        run_config=ray.train.RunConfig(
            name=location.run_name,
            storage_path=absolute(location.storage_uri),
            failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=2,
                checkpoint_score_attribute=selection.metric,
                checkpoint_score_order=selection.mode,
            ),
            callbacks=[*callbacks, NoSecondTry()],
        ),
    )
    with in_one_line(f"{location.storage_uri}/{location.run_name}", loop.memory_advice):
        result = trainer.fit()

    checkpoints = [ScoredCheckpoint(*kept) for kept in result.best_checkpoints or []]
    best = _best_checkpoint(checkpoints, selection)
    publish(best.checkpoint, location.output_uri)
    # Not `result.metrics`, which are those of the last checkpoint.
    return best.metrics, result.return_value or {}


def _best_checkpoint(checkpoints: list[ScoredCheckpoint], selection: ModelSelection) -> ScoredCheckpoint:
    """The checkpoint with the best metric; of equal ones the last."""
    sign = 1 if selection.mode == "max" else -1

    def rank(scored: ScoredCheckpoint) -> tuple[float, int]:
        score = scored.metrics.get(selection.metric, 0) if selection.metric else 0
        return sign * score, scored.metrics["step"]

    return max(checkpoints, key=rank)


def windows(uri: str, size: int) -> Iterator[list[dict[str, Any]]]:
    """All training rows in the order in which they were written, `size` at a time.

    Every worker reads them all (see `student.training.batches`), from the dataset itself: to have Ray Data
    hand them out would start four actors and two tasks that read.
    """
    rows = iter(Rows(uri, "train"))
    while window := list(islice(rows, size)):
        yield window


def num_training_rows(uri: str) -> int:
    """Raises ValueError where there is none."""
    found = sum(len(batch) for batch in Rows(uri, "train").batches(["split"]))
    if found == 0:
        raise ValueError(f"{uri}: no training rows")
    return found


def publish(checkpoint: ray.train.Checkpoint, output_uri: str) -> None:
    """Copies the checkpoint's model to `output_uri`, replacing what was there."""
    make_empty_folder(output_uri)
    filesystem, path = open_uri(output_uri)
    pyarrow.fs.copy_files(
        f"{checkpoint.path}/{MODEL_FOLDER}",
        path,
        source_filesystem=checkpoint.filesystem,
        destination_filesystem=filesystem,
    )


class Means:
    """Means over the steps since the last report, which are the same on every worker."""

    def __init__(self, rows_per_step: int) -> None:
        self._rows_per_step = rows_per_step
        self._begin()

    def _begin(self) -> None:
        self._values: dict[str, list[float]] = {}
        self._since = time.monotonic()
        self.waited_s = 0.0

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self._values.setdefault(name, []).append(value.item())

    def take(self, step: int, num_steps: int, engine: Any, section: str) -> dict[str, float]:
        """What is reported at `step` of `num_steps`: the means, and rates by the clock; begins anew.

        Raises:
            TrainingError: the loss is not finite, for all workers alike; names the key in `section`.
        """
        seconds = time.monotonic() - self._since
        rows = len(self._values["loss"]) * self._rows_per_step
        found = {name: sum(values) / len(values) for name, values in self._values.items()}
        if not math.isfinite(found["loss"]):
            raise TrainingError(
                f"step {step} of {num_steps}: the loss is {found['loss']}; lower {section}.learning_rate"
            )
        rates = {"contexts_per_s": rows / seconds, "data_share": self.waited_s / seconds}
        self._begin()
        return {"step": step, "steps": num_steps, "learning_rate": engine.get_lr()[0], **found, **rates}
