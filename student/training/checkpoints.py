"""Checkpoints of a training: written whole, verified before they are loaded, on any number of workers.

A checkpoint is a folder with DeepSpeed's state in `engine/`, the loadable model in `model/`, and the hash of
every file. The data's position and dropout's random numbers follow from the step
(`student.training.batches`, `student.training.step`), and are not stored.
"""

import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import torch
from torch import Tensor

from student.config import TrainingConfig
from student.training.deepspeed_engine import (
    WORLD_FILE,
    convert_checkpoint,
    full_weights,
    load_checkpoint,
    needs_conversion,
    save_checkpoint,
)
from student.training.errors import CHECKPOINT_PREFIX, TrainingError
from student.training.sparsity import State as SparsityState
from teachers.storage import file_digest

MODEL_FOLDER = "model"


@dataclass(frozen=True)
class TrainingState:
    """Progress of a training, apart from its weights."""

    step: int = 0
    best_mrr: float = 0.0
    validations_without_gain: int = 0
    sparsity: SparsityState | None = None

    def after(self, step: int, mrr: float | None, sparsity: SparsityState | None) -> "TrainingState":
        """The state after a checkpoint's validation; `mrr` is None without one."""
        gained = mrr is None or mrr > self.best_mrr

        return replace(
            self,
            step=step,
            best_mrr=max(self.best_mrr, mrr or 0.0),
            validations_without_gain=0 if gained else self.validations_without_gain + 1,
            sparsity=sparsity,
        )


def save(
    engine: Any,
    state: TrainingState,
    metrics: dict[str, Any],
    write_model: Callable[[dict[str, Tensor], Path], None],
) -> None:
    """Report the metrics to Ray Train with a checkpoint; every rank has to call it.

    `write_model(weights, folder)` writes the loadable model with the trained weights, by name.
    """
    rank = torch.distributed.get_rank()
    # A repeated step needs another name: Ray Train would delete both checkpoints together.
    name = f"{CHECKPOINT_PREFIX}{state.step:08d}-{_token()[:6]}"
    weights = full_weights(engine)

    with tempfile.TemporaryDirectory(prefix="rejoinder-checkpoint-") as scratch:
        folder = Path(scratch)
        save_checkpoint(engine, folder, asdict(state))
        if rank == 0:
            write_model(weights, folder / MODEL_FOLDER)

        hashes = {str(file.relative_to(folder)): _hash(file) for file in folder.rglob("*") if file.is_file()}
        (folder / f"files-{rank}.json").write_text(json.dumps(hashes))
        # Ray Train merges the ranks' files under one name into one checkpoint.
        ray.train.report(metrics, ray.train.Checkpoint.from_directory(folder), checkpoint_dir_name=name)


def resume(start: Callable[[bool], Any], config: TrainingConfig) -> tuple[Any, TrainingState, dict[str, str]]:
    """The engine and the state of the newest intact checkpoint, or of step 0 without one.

    `start(universal)` starts the engine. A damaged checkpoint is skipped; the third result then has a
    `warning` that names it and the one that was loaded instead.

    Raises:
        TrainingError: all checkpoints are damaged, or cannot be converted for this number of workers.
    """
    reported = ray.train.get_all_reported_checkpoints() if ray.train.get_checkpoint() else []
    newest_first = sorted(reported, key=lambda report: -report.metrics["step"])
    damaged = ""

    for report in newest_first:
        path = report.checkpoint.path
        with report.checkpoint.as_directory() as name:
            damage = _damage(Path(name))
            if damage is None:
                warning = {"warning": f"{damaged}; resumed from {path}"} if damaged else {}
                return *_load(start, Path(name), config), warning

        damaged = damaged or f"{path} is damaged ({damage})"

    if damaged:
        raise TrainingError(f"{damaged}, and there is no other checkpoint to resume from; delete its folder")
    return start(False), TrainingState(), {}


def _load(start: Callable[[bool], Any], folder: Path, config: TrainingConfig) -> tuple[Any, TrainingState]:
    """The engine and the state of the checkpoint in `folder`, which is converted if necessary."""
    universal = needs_conversion(folder, config)
    converted = Path(tempfile.gettempdir()) / f"rejoinder-universal-{_token()}"
    converts = universal and ray.train.get_context().get_local_rank() == 0

    try:
        if converts:
            convert_checkpoint(folder, converted)
        torch.distributed.barrier()

        engine = start(universal)
        state = load_checkpoint(engine, converted if universal else folder, universal)
        torch.distributed.barrier()
    finally:
        if converts:
            shutil.rmtree(converted, ignore_errors=True)

    return engine, TrainingState(**{field: state[field] for field in asdict(TrainingState())})


def _token() -> str:
    """A random name, the same on every rank; every rank has to call it."""
    token = [uuid.uuid4().hex]
    torch.distributed.broadcast_object_list(token)
    return token[0]


def _damage(folder: Path) -> str | None:
    """A description of the damage to the checkpoint in `folder`; None where it is intact."""
    lists = sorted(folder.glob("files-*.json"))
    hashes: dict[str, str] = {}
    try:
        for path in lists:
            hashes |= json.loads(path.read_text())
        world: int = json.loads((folder / WORLD_FILE).read_text())["world_size"]
    except (OSError, ValueError, KeyError) as error:
        return str(error)

    if len(lists) != world:
        return f"expected the files of {world} workers, got {len(lists)}"
    for file, expected in hashes.items():
        if not (folder / file).is_file():
            return f"{file} is missing"
        if _hash(folder / file) != expected:
            return f"{file} has another hash than when it was written"
    return None


def _hash(file: Path) -> str:
    return file_digest(file, partial(hashlib.blake2b, digest_size=16))
