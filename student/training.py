"""The student learns from TARGETS: Ray Train starts the workers, DeepSpeed takes the steps.

B contexts of a worker's step, N distinct response texts of that step, D dimensions.
"""

import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs
import ray.data
import ray.train
import torch
from ray.data.expressions import col
from ray.train.torch import TorchConfig, TorchTrainer
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import functional

from student.batches import StepBatch, step_batch
from student.config import StudentConfig
from student.encoder import load_encoder, resolve_model
from student.losses import Losses, g2r_loss
from teachers.records import open_uri

# Texts of a step are encoded in this many parts of like length, which saves most of the padding.
# A constant, because under ZeRO-3 every rank has to run the encoder equally often.
NUM_LENGTH_BUCKETS = 4


def train_student(
    targets_uri: str,
    output_uri: str,
    storage_uri: str,
    run_name: str,
    config: StudentConfig,
    callbacks: list[ray.train.UserCallback],
) -> dict[str, float]:
    """Counts and last losses, once the trained encoder lies at `output_uri`.

    The `train` rows of TARGETS are shuffled, then split equally among the workers; a worker's last
    incomplete step is left out. Checkpoints go to `storage_uri`/`run_name`: the same call goes on from
    the newest. The callbacks run on Ray Train's controller and get every report: `step`, `steps`,
    `loss`, `cross_entropy`, `kl` (means over the steps since the last report and over the workers),
    `learning_rate`, `contexts_per_s`. Raises ValueError where there are fewer rows than workers, or the
    loss is no longer a number.
    """
    rows = ray.data.read_parquet(_absolute(targets_uri)).filter(expr=col("split") == "train")
    rows = rows.random_shuffle(seed=config.seed).materialize()
    num_contexts = rows.count()
    contexts_per_worker = num_contexts // config.num_workers
    if contexts_per_worker == 0:
        raise ValueError(f"{targets_uri}: {num_contexts} training rows for {config.num_workers} workers")
    contexts_per_step = min(config.contexts_per_step, contexts_per_worker)
    steps_per_epoch = contexts_per_worker // contexts_per_step
    student = config.model_copy(
        update={"model": resolve_model(config.model), "contexts_per_step": contexts_per_step}
    )
    trainer = TorchTrainer(
        train_loop_per_worker,
        train_loop_config={
            "student": student.model_dump(),
            "steps_per_epoch": steps_per_epoch,
            "output_uri": _absolute(output_uri),
        },
        torch_config=TorchConfig(backend="nccl" if config.use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": config.cpus_per_worker, "GPU": int(config.use_gpu)},
        ),
        run_config=ray.train.RunConfig(
            name=run_name,
            storage_path=_absolute(storage_uri),
            failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            callbacks=callbacks,
        ),
        datasets={"train": rows},
    )
    # Not `.metrics`, which are those of the last checkpoint.
    metrics: dict[str, float] = trainer.fit().return_value or {}
    if not math.isfinite(metrics.get("loss", 0.0)):
        # Raised here and not by a worker, whose errors Ray Train takes for faults and tries again.
        step = f"step {metrics['step']} of {metrics['steps']}"
        raise ValueError(f"{step}: the loss is {metrics['loss']}; lower student.learning_rate")
    counts = {"contexts": num_contexts, "steps": config.epochs * steps_per_epoch}
    return {**metrics, **counts}


def train_loop_per_worker(loop: dict[str, Any]) -> dict[str, Any]:
    """What each worker runs: all its steps, then rank 0 saves the student. Returns the last report.

    A loss that is no number ends it early, with nothing saved.
    """
    config = StudentConfig(**loop["student"])
    os.environ["DS_ACCELERATOR"] = "cuda" if config.use_gpu else "cpu"  # DeepSpeed guesses else
    torch.set_num_threads(config.cpus_per_worker)
    torch.manual_seed(config.seed)
    num_steps = config.epochs * loop["steps_per_epoch"]
    encoder = load_encoder(config.model, config.max_tokens)
    engine = start_engine(StepEncoder(encoder), config, num_steps)
    steps_done = load_checkpoint(engine)

    metrics: dict[str, Any] = {}
    since, sums = time.monotonic(), torch.zeros(4)  # loss, cross-entropy, KL, steps
    for step, batch in step_batches(config, loop["steps_per_epoch"], steps_done):
        learning_rate = engine.get_lr()[0]
        losses = train_step(engine, batch, config)
        sums += torch.stack([*(loss.detach().cpu() for loss in losses), torch.tensor(1.0)])
        save = step % config.checkpoint_every_steps == 0 or step == num_steps
        if save or step % config.report_every_steps == 0:
            means = _mean_over_workers(sums, engine.device)
            contexts = sums[3].item() * config.contexts_per_step * config.num_workers
            metrics = {
                "step": step,
                "steps": num_steps,
                **dict(zip(("loss", "cross_entropy", "kl"), means, strict=True)),
                "learning_rate": learning_rate,
                "contexts_per_s": contexts / (time.monotonic() - since),
            }
            diverged = not math.isfinite(metrics["loss"])
            report(engine, metrics, save and not diverged)
            if diverged:  # on every rank, for the means are the same
                return metrics
            since, sums = time.monotonic(), torch.zeros(4)
    save_student(engine, config, loop["output_uri"])
    return metrics


def train_step(engine: Any, batch: StepBatch, config: StudentConfig) -> Losses:
    """The losses of one optimizer step, which has been taken."""
    contexts, responses = engine(batch.contexts, batch.responses)  # [B, D], [N, D]
    losses = g2r_loss(
        config.similarity_scale * contexts @ responses.T,
        batch.positive_mask.to(engine.device),
        batch.negative_mask.to(engine.device),
        batch.own_mask.to(engine.device),
        batch.target_probs.to(engine.device),
        config.alpha,
        config.temperature,
    )
    engine.backward(losses.loss)
    engine.step()
    return losses


class StepEncoder(torch.nn.Module):
    """Encodes the texts of a step in one call, which DeepSpeed's engine expects."""

    def __init__(self, encoder: SentenceTransformer) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, contexts: list[str], responses: list[str]) -> tuple[Tensor, Tensor]:
        """Embeddings [B, D] and [N, D] of length 1, float32: bf16 would round cosines to 3 digits."""
        texts = contexts + responses
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        order = np.resize(order, max(len(texts), NUM_LENGTH_BUCKETS)).tolist()  # no bucket is empty
        parts = [self._encode([texts[i] for i in part]) for part in np.array_split(order, NUM_LENGTH_BUCKETS)]
        places = {text: place for place, text in enumerate(order)}
        embeddings = torch.cat(parts)[[places[i] for i in range(len(texts))]]
        return embeddings[: len(contexts)], embeddings[len(contexts) :]

    def _encode(self, texts: list[str]) -> Tensor:
        features = self.encoder.preprocess(texts)
        on_device = {
            name: value.to(self.encoder.device) if isinstance(value, Tensor) else value
            for name, value in features.items()
        }
        return functional.normalize(self.encoder(on_device)["sentence_embedding"].float(), dim=1)


def start_engine(model: torch.nn.Module, config: StudentConfig, num_steps: int) -> Any:
    """The DeepSpeed engine of this rank; Ray Train has set up torch.distributed already."""
    import deepspeed  # reads DS_ACCELERATOR when imported

    # Else DeepSpeed compiles a shared-memory all-reduce at the first start, and a build that was killed
    # leaves a lock behind at which every later start waits for ever.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    engine, *_ = deepspeed.initialize(
        model=model,
        # An optimizer named in the DeepSpeed config is FusedAdam, compiled first: over a minute.
        optimizer=torch.optim.AdamW(model.parameters(), lr=config.learning_rate),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_share(step, num_steps, config.warmup_share)
        ),
        dist_init_required=False,
        config={
            "train_micro_batch_size_per_gpu": config.contexts_per_step,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": config.gradient_clipping,
            "bf16": {"enabled": config.precision == "bf16"},
            # The buffers are allocated in full; DeepSpeed's default of 5e8 numbers is for larger models.
            "zero_optimization": {
                "stage": config.zero_stage,
                "reduce_bucket_size": 20_000_000,
                "allgather_bucket_size": 20_000_000,
            },
            "steps_per_print": num_steps + 1,
        },
    )
    return engine


def learning_rate_share(step: int, num_steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at `step` (from 0): up linearly, then down to 0 at `num_steps`."""
    warmup = max(1, math.ceil(warmup_share * num_steps))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (num_steps - step) / max(1, num_steps - warmup + 1))


def step_batches(
    config: StudentConfig, steps_per_epoch: int, steps_done: int
) -> Iterator[tuple[int, StepBatch]]:
    """This worker's steps, numbered from 1, without the first `steps_done`.

    Ray Data may deal rows out in another order after a restart: how many contexts are seen again is
    the same, which ones is not.
    """
    shard = ray.train.get_dataset_shard("train")
    for epoch in range(steps_done // steps_per_epoch, config.epochs):
        tables = shard.iter_batches(
            batch_size=config.contexts_per_step,
            batch_format="pyarrow",
            drop_last=True,
            local_shuffle_buffer_size=8 * config.contexts_per_step,
            local_shuffle_seed=config.seed + epoch,
        )
        for step, table in enumerate(tables, start=epoch * steps_per_epoch + 1):
            if step > steps_done:
                yield step, step_batch(table.to_pylist(), config.context_turns, config.max_candidates)


def load_checkpoint(engine: Any) -> int:
    """Steps done by the newest checkpoint, which is loaded; 0 where there is none."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        _, client_state = engine.load_checkpoint(folder)
    return int(client_state["step"])


def report(engine: Any, metrics: dict[str, Any], save: bool) -> None:
    """Reports to Ray Train, with a checkpoint if `save`; every rank has to call it."""
    if not save:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory(prefix="rejoinder-checkpoint-") as folder:
        engine.save_checkpoint(folder, tag="engine", client_state={"step": metrics["step"]})
        # Each rank's files, under one name, become one checkpoint.
        name = f"checkpoint-{metrics['step']:08d}"
        ray.train.report(metrics, ray.train.Checkpoint.from_directory(folder), checkpoint_dir_name=name)


def save_student(engine: Any, config: StudentConfig, output_uri: str) -> None:
    """Writes the trained encoder in sentence-transformers' format; every rank has to call it.

    The weights are the optimizer's float32 ones, gathered where ZeRO shards them. Replaces what was at
    `output_uri`; the folder is complete once training has returned.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    weights: dict[str, Tensor] = {}
    for name, parameter in engine.module.encoder.named_parameters():
        full = safe_get_full_fp32_param(parameter)  # None where the parameter itself is all there is
        weights[name] = (parameter if full is None else full).detach().float().cpu()
    if ray.train.get_context().get_world_rank() != 0:
        return
    encoder = load_encoder(config.model, config.max_tokens)
    encoder.load_state_dict(weights, strict=False)  # buffers are no parameters
    with tempfile.TemporaryDirectory(prefix="rejoinder-student-") as folder:
        encoder.save(folder)
        filesystem, path = open_uri(output_uri)
        if filesystem.get_file_info(path).type != pyarrow.fs.FileType.NotFound:
            filesystem.delete_dir(path)
        filesystem.create_dir(path, recursive=True)
        pyarrow.fs.copy_files(folder, path, destination_filesystem=filesystem)


def _mean_over_workers(sums: Tensor, device: torch.device) -> list[float]:
    """The first three of the sums, each divided by the last (the steps), averaged over the workers."""
    means = (sums[:3] / sums[3]).to(device)
    torch.distributed.all_reduce(means)
    return [value / torch.distributed.get_world_size() for value in means.tolist()]


def _absolute(uri: str) -> str:
    """A URI as it is, a local path from the root: workers have another working directory."""
    return uri if "://" in uri else str(Path(uri).resolve())
