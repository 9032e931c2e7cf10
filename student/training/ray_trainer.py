"""Ray Train around a worker's loop: rows for the workers, kept checkpoints, the best model published."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import pyarrow.fs
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from student.config import TrainingConfig
from student.training.checkpoints import MODEL_FOLDER
from student.training.errors import FailFast, concise_errors
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
            callbacks=[*callbacks, FailFast()],
        ),
    )
    with concise_errors(f"{location.storage_uri}/{location.run_name}", loop.memory_advice):
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
    """All training rows in their written order, `size` at a time.

    Every worker reads them all (see `student.training.batches`), from the dataset itself: Ray Data would
    start four actors and two reading tasks.
    """
    rows = iter(Rows(uri, "train"))
    while window := list(islice(rows, size)):
        yield window


def num_training_rows(uri: str) -> int:
    """Number of training rows.

    Raises:
        ValueError: there are none.
    """
    num_rows = sum(len(batch) for batch in Rows(uri, "train").batches(["split"]))
    if num_rows == 0:
        raise ValueError(f"{uri}: no training rows")
    return num_rows


def publish(checkpoint: ray.train.Checkpoint, output_uri: str) -> None:
    """Copy the checkpoint's model to `output_uri`, replacing its contents."""
    make_empty_folder(output_uri)
    filesystem, path = open_uri(output_uri)
    pyarrow.fs.copy_files(
        f"{checkpoint.path}/{MODEL_FOLDER}",
        path,
        source_filesystem=checkpoint.filesystem,
        destination_filesystem=filesystem,
    )
