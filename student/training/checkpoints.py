"""Checkpoints of a training: written whole, checked before they are loaded, on any number of workers.

A checkpoint is a folder with DeepSpeed's state in `engine/`, the model so far in `model/` (as whoever uses it
loads it), and the hash of every file. The data's position and dropout's random numbers follow from the step
(`student.training.batches`, `student.training.step`), so that they need not be kept.
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
    """How far a training has come, beside its weights."""

    step: int = 0
    best_mrr: float = 0.0
    validations_without_gain: int = 0
    sparsity: SparsityState | None = None

    def after(self, step: int, mrr: float | None, sparsity: SparsityState | None) -> "TrainingState":
        """The state after a checkpoint's validation; `mrr` is None where there is none."""
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
    """Reports the metrics to Ray Train with a checkpoint; every rank has to call it.

    `write_model(weights, folder)` writes the model with the trained weights, by name, as it is to be used.
    """
    rank = torch.distributed.get_rank()
    # A step that is taken again makes another checkpoint: Ray Train would delete both with one of them.
    name = f"{CHECKPOINT_PREFIX}{state.step:08d}-{_token()[:6]}"
    weights = full_weights(engine)
    with tempfile.TemporaryDirectory(prefix="rejoinder-checkpoint-") as scratch:
        folder = Path(scratch)
        save_checkpoint(engine, folder, asdict(state))
        if rank == 0:
            write_model(weights, folder / MODEL_FOLDER)
        hashes = {str(file.relative_to(folder)): _hash(file) for file in folder.rglob("*") if file.is_file()}
        (folder / f"files-{rank}.json").write_text(json.dumps(hashes))
        # Each rank's files, under one name, become one checkpoint.
        ray.train.report(metrics, ray.train.Checkpoint.from_directory(folder), checkpoint_dir_name=name)


def resume(start: Callable[[bool], Any], config: TrainingConfig) -> tuple[Any, TrainingState, dict[str, str]]:
    """The engine and the state of the newest whole checkpoint, or of the beginning where there is none.

    `start(universal)` starts the engine. A damaged checkpoint is passed over; the third result has then a
    `warning` that names it and the one that was taken instead.

    Raises:
        TrainingError: all checkpoints are damaged, or cannot be converted for this number of workers.
    """
    reported = ray.train.get_all_reported_checkpoints() if ray.train.get_checkpoint() else []
    damaged = ""
    for found in sorted(reported, key=lambda found: -found.metrics["step"]):
        with found.checkpoint.as_directory() as name:
            damage = _damage(Path(name))
            if damage is None:
                warning = {"warning": f"{damaged}; went on from {found.checkpoint.path}"} if damaged else {}
                return *_resumed(start, Path(name), config), warning
        damaged = damaged or f"{found.checkpoint.path} is damaged ({damage})"
    if damaged:
        raise TrainingError(f"{damaged}, and there is no other checkpoint to go on from: delete its folder")
    return start(False), TrainingState(), {}


def _resumed(start: Callable[[bool], Any], folder: Path, config: TrainingConfig) -> tuple[Any, TrainingState]:
    """The engine and the state of the whole checkpoint in `folder`, converted if it has to be."""
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
    """What is wrong with the checkpoint in `folder`, if anything."""
    lists = sorted(folder.glob("files-*.json"))
    try:
        hashes = {file: found for each in lists for file, found in json.loads(each.read_text()).items()}
        world: int = json.loads((folder / WORLD_FILE).read_text())["world_size"]
    except (OSError, ValueError, KeyError) as error:
        return str(error)
    if len(lists) != world:
        return f"{len(lists)} of {world} workers' files"
    for file, found in hashes.items():
        if not (folder / file).is_file():
            return f"{file} is missing"
        if _hash(folder / file) != found:
            return f"{file} is not what was written"
    return None


def _hash(file: Path) -> str:
    return file_digest(file, partial(hashlib.blake2b, digest_size=16))
