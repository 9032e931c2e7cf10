"""One training step in one or two real gloo workers without Ray, and what it computed.

python tests/student/training/step_workers.py FOLDER WORLD_SIZE: runs each case of
FOLDER/cases.json and writes the losses and gradients that rank 0 sees to FOLDER/WORLD_SIZE.pt.
"""

import gc
import json
import os
import sys
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from student.config import StudentConfig
from student.training.batches import step_batch
from tests.student.student_rows import target_rows


class SavedBytes:
    """Counts what autograd keeps for the backward pass: the most at any time, in bytes."""

    def __init__(self) -> None:
        self.most = self._now = 0

    def pack(self, tensor: Tensor) -> "Kept":
        kept = Kept(tensor)
        size = tensor.numel() * tensor.element_size()
        self._now += size
        self.most = max(self.most, self._now)
        weakref.finalize(kept, self._free, size)
        return kept

    def _free(self, size: int) -> None:
        self._now -= size


class Kept:
    """A saved tensor whose end is noticed."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def run_case(case: dict[str, Any]) -> dict[str, Any]:
    """Losses, gradients by name, and the most bytes saved for the backward pass."""
    from student.training.deepspeed_engine import start_engine
    from student.training.loop import build_model
    from student.training.sparsity import SparsityController
    from student.training.step import train_step

    config = StudentConfig.model_validate(case["config"])
    model = build_model(config)
    if case["dropout"] == 0:  # workers draw their own
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    engine = start_engine(model, config, num_updates=1)
    gradients: dict[str, Tensor] = {}
    take_step = engine.step

    def keep_gradients_and_step() -> Any:
        from deepspeed.utils import safe_get_full_grad

        if not engine.is_gradient_accumulation_boundary():
            return take_step()
        for name, parameter in engine.module.named_parameters():
            full = safe_get_full_grad(parameter) if parameter.requires_grad else None
            if full is not None:
                gradients[name] = full.detach().clone()
        return take_step()

    engine.step = keep_gradients_and_step
    negatives = [f"w{i % 40} w{i // 40}" for i in range(config.random_negatives)]
    batch = step_batch(target_rows(config.global_batch_size), config, negatives)
    penalty = None
    if config.kind == "sparse":
        penalty = partial(SparsityController(config, 1, model.encoder, None).penalty, 0)
    saved = SavedBytes()
    gc.collect()
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda kept: kept.tensor):
        for step in range(config.accumulation_steps):
            losses, _, _ = train_step(engine, batch, config, penalty, step)
    engine.destroy()
    return {
        "losses": {name: value.item() for name, value in losses._asdict().items()},
        "gradients": gradients,
        "saved_bytes": saved.most,
    }


def work(rank: int, world_size: int, folder: Path) -> None:
    """One worker: all cases, one after the other."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size), DS_ACCELERATOR="cpu")
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous-{world_size}"
    torch.distributed.init_process_group("gloo", rendezvous, rank=rank, world_size=world_size)
    cases = json.loads((folder / "cases.json").read_text())
    results = {name: run_case(case) for name, case in cases.items()}
    if rank == 0:
        torch.save(results, folder / f"{world_size}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    world = int(sys.argv[2])
    torch.multiprocessing.spawn(work, (world, Path(sys.argv[1])), nprocs=world)
