"""The DeepSpeed engine: its configuration, its weights, and its state on any number of workers."""

import functools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from student.config import TrainingConfig
from student.training.errors import TrainingError

_TAG = "engine"
_UNIVERSAL = "universal"
WORLD_FILE = "world.json"
# DeepSpeed converts only checkpoints with this entry.
_CONVERTIBLE = {"universal_checkpoint_info": {"universal_checkpoint_version": 0.2}}


def deepspeed_config(config: TrainingConfig, universal: bool = False) -> dict[str, Any]:
    """DeepSpeed's configuration; the user's `deepspeed` section takes precedence."""
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        # The buffers are allocated in full; DeepSpeed's default of 5e8 numbers is for larger models.
        "reduce_bucket_size": 20_000_000,
        "allgather_bucket_size": 20_000_000,
    }
    if config.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}

    defaults = {
        # Only for DeepSpeed's own reports: a step consists of groups of texts, not of its micro-batches.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": config.accumulation_steps,
        "gradient_clipping": config.gradient_clipping,
        "zero_optimization": zero,
        # A torch optimizer: one named here would be FusedAdam, which takes over a minute to compile.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": sys.maxsize,
        "checkpoint": {"load_universal": universal},
    }

    return deep_merge(defaults, config.deepspeed)


def start_engine(
    model: torch.nn.Module, config: TrainingConfig, num_updates: int, universal: bool = False
) -> Any:
    """The DeepSpeed engine of this rank; torch.distributed has to be initialized."""
    import deepspeed  # reads DS_ACCELERATOR when imported

    # Otherwise DeepSpeed compiles a shared-memory all-reduce at the first start. A build that was killed
    # leaves a lock, and every later start waits for it forever.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    share = functools.partial(learning_rate_share, num_steps=num_updates, warmup_share=config.warmup_share)
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(trained, lr=config.learning_rate, fused=True),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, share),
        dist_init_required=False,
        config=deepspeed_config(config, universal),
    )
    return engine


def learning_rate_share(step: int, num_steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at `step` (from 0): up linearly, then down to 0 at `num_steps`."""
    warmup = max(1, math.ceil(warmup_share * num_steps))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (num_steps - step) / max(1, num_steps - warmup + 1))


def full_weights(engine: Any) -> dict[str, Tensor]:
    """The trained weights by name, gathered where ZeRO shards them.

    Every rank has to call it.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    weights = {}
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            continue

        full = safe_get_full_fp32_param(parameter)  # None under ZeRO-0, where it is whole
        weights[name] = (parameter if full is None else full).detach().cpu().clone()

    return weights


def save_checkpoint(engine: Any, folder: Path, state: dict[str, Any]) -> None:
    """Write this rank's part of the engine's state, and `state`; every rank has to call it."""
    engine.save_checkpoint(str(folder), tag=_TAG, client_state={**state, **_CONVERTIBLE})
    if torch.distributed.get_rank() == 0:
        world = {"world_size": torch.distributed.get_world_size()}
        (folder / WORLD_FILE).write_text(json.dumps(world))


def needs_conversion(folder: Path, config: TrainingConfig) -> bool:
    """Whether the checkpoint's optimizer is sharded over a number of workers other than the current one."""
    saved: int = json.loads((folder / WORLD_FILE).read_text())["world_size"]
    return config.zero_stage > 0 and saved != torch.distributed.get_world_size()


def convert_checkpoint(folder: Path, output: Path) -> None:
    """Write the checkpoint's universal form, for any number of workers, with DeepSpeed's own tool.

    Raises:
        TrainingError: the tool failed.
    """
    paths = ["--input_folder", str(folder / _TAG), "--output_folder", str(output / _UNIVERSAL)]
    one_process = ["--num_extract_workers", "1", "--num_merge_workers", "1"]

    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", *paths, *one_process]
    completed = subprocess.run(command, capture_output=True, text=True)
    if completed.returncode:
        cause = completed.stderr.strip().splitlines()[-1]
        raise TrainingError(
            f"the checkpoint {folder} cannot be resumed on another number of workers: {cause}"
        )


def load_checkpoint(engine: Any, folder: Path, universal: bool) -> dict[str, Any]:
    """Load the checkpoint, and return the state that was saved with it."""
    _, state = engine.load_checkpoint(str(folder), tag=_UNIVERSAL if universal else _TAG)
    return dict(state)


def deep_merge(defaults: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """`defaults` with the values of `overrides`; dicts under the same key are merged."""
    merged = dict(defaults)
    for key, value in overrides.items():
        both_dicts = isinstance(value, dict) and isinstance(defaults.get(key), dict)
        merged[key] = deep_merge(defaults[key], value) if both_dicts else value
    return merged
