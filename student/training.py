"""The student learns from TARGETS: Ray Train starts the workers, DeepSpeed takes the steps."""

import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray.data
import ray.train
import torch
from ray.data import ExecutionOptions
from ray.data.expressions import col
from ray.train.torch import TorchConfig, TorchTrainer
from torch import Tensor

from student.batches import StepBatch, epoch_batches
from student.checkpoints import STUDENT_FOLDER, resume, save
from student.config import StudentConfig
from student.encoder import EncoderSource, load_encoder, resolve_model, separate_encoders
from student.engine import start_engine
from student.errors import NoSecondTry, TrainingError, in_one_line, memory_advice
from student.sparsity import SparsityController, activity, missed_budget
from student.step import StepEncoder, train_step
from student.validation import ValidationSet, set_training, validate, validation_set
from teachers.records import open_uri, read_rows


def train_student(
    targets_uri: str,
    examples_uri: str,
    output_uri: str,
    storage_uri: str,
    run_name: str,
    config: StudentConfig,
    callbacks: list[ray.train.UserCallback],
) -> dict[str, Any]:
    """Counts and last measures, once the best student lies at `output_uri`.

    Steps are made of the `train` rows of TARGETS, shuffled by the seed alone; rows that fill no step are
    left out. Checkpoints go to `storage_uri`/`run_name`, and the same call goes on from the newest,
    on any number of workers. Each is validated on the `validation` rows of EXAMPLES, and the one with the
    best MRR becomes the student; without validation rows the last does. The callbacks run on Ray Train's
    controller and get every report, see `train_loop_per_worker`.

    Raises:
        ValueError: there is nothing to train on, the loss is no longer a number, memory does not suffice.
    """
    rows = _training_rows(targets_uri)
    num_contexts = rows.count()
    if num_contexts == 0:
        raise ValueError(f"{targets_uri}: no training rows")
    contexts_per_step = min(config.contexts_per_step, num_contexts)
    student = config.model_copy(
        update={"model": resolve_model(config.model), "contexts_per_step": contexts_per_step}
    )
    held_out = validation_set(
        [row for row in read_rows(examples_uri) if row["split"] == "validation"], config
    )
    num_steps = config.epochs * (num_contexts // contexts_per_step)
    trainer = TorchTrainer(
        train_loop_per_worker,
        train_loop_config={
            "student": student.model_dump(),
            "steps_per_epoch": num_contexts // contexts_per_step,
            "num_steps": num_steps - num_steps % config.accumulation_steps,
            "validation": asdict(held_out) if held_out else None,
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
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute="validation_mrr" if held_out else None
            ),
            callbacks=[*callbacks, NoSecondTry()],
        ),
        datasets={"train": rows},
        # Every worker reads all rows, always in the same order.
        dataset_config=ray.train.DataConfig(
            datasets_to_split=[], execution_options=ExecutionOptions(preserve_order=True)
        ),
    )
    with in_one_line(f"{storage_uri}/{run_name}"):
        result = trainer.fit()
    checkpoints = result.best_checkpoints or []
    # Of equally good ones the later.
    best, measures = max(checkpoints, key=lambda found: (found[1].get("validation_mrr", 0), found[1]["step"]))
    _publish(best, output_uri)
    validated = {name: value for name, value in measures.items() if name.startswith("validation_")}
    missed = None
    if config.kind == "sparse" and validated:
        missed = missed_budget(
            config, {name.removeprefix("validation_"): found for name, found in validated.items()}
        )
    # Not `.metrics`, which are those of the last checkpoint.
    last = result.return_value or {}
    warnings = [warning for warning in (last.get("warning"), missed) if warning]
    return {
        **last,
        **validated,
        "contexts": num_contexts,
        "best step": measures["step"],
        **({"warning": "; ".join(warnings)} if warnings else {}),
    }


def train_loop_per_worker(loop: dict[str, Any]) -> dict[str, Any]:
    """What each worker runs: all the steps that are left. Returns the last report and warning.

    A report has `step`, `steps`, `loss` with its parts (means over the steps since the last one),
    `learning_rate`, `contexts_per_s`, `data_share` (of the time, waiting for rows), a sparse student's
    `context_terms`, `response_terms` and `flops`, and at a checkpoint the `validation_…` measures.
    """
    config = StudentConfig(**loop["student"])
    held_out = ValidationSet(**loop["validation"]) if loop["validation"] else None
    num_steps = loop["num_steps"]
    os.environ["DS_ACCELERATOR"] = "cuda" if config.use_gpu else "cpu"  # DeepSpeed guesses else
    torch.set_num_threads(config.cpus_per_worker)
    model = build_model(config)
    engine, state, warning = resume(
        partial(start_engine, model, config, num_steps // config.accumulation_steps), config
    )
    sparsity = None
    if config.kind == "sparse":
        sparsity = SparsityController(config, num_steps, model.encoder, state.sparsity)

    metrics: dict[str, Any] = {}
    means = _Means(config.contexts_per_step)
    for step, batch in step_batches(config, loop["steps_per_epoch"], state.step, num_steps, means):
        if config.early_stopping and state.validations_without_gain >= config.early_stopping:
            break
        with memory_advice():
            losses, contexts, responses = train_step(
                engine, batch, config, partial(sparsity.penalty, step - 1) if sparsity else None, step - 1
            )
        means.add(losses._asdict())
        if sparsity:
            sparsity.steer(step - 1, contexts, responses)
            means.add(activity(contexts, responses))
        at_checkpoint = step % config.checkpoint_every_steps == 0 or step == num_steps
        if not at_checkpoint and step % config.report_every_steps:
            continue
        metrics = {"step": step, "steps": num_steps, "learning_rate": engine.get_lr()[0], **means.take()}
        if not math.isfinite(metrics["loss"]):  # for all workers alike
            raise TrainingError(
                f"step {step} of {num_steps}: the loss is {metrics['loss']}; lower student.learning_rate"
            )
        if not at_checkpoint:
            ray.train.report(metrics)
            continue
        thresholds = sparsity.thresholds() if sparsity else {}
        if held_out:
            validated, thresholds = validate(engine, held_out, config, sparsity)
            metrics |= validated
        state = state.after(step, metrics.get("validation_mrr"), sparsity.state() if sparsity else None)
        save(engine, state, metrics, config, thresholds)
    return {**metrics, **warning}


def build_model(config: StudentConfig) -> StepEncoder:
    """The module to train, ready for its first step, from the encoder that the config names."""
    encoder = load_encoder(EncoderSource(config.model, config.kind, config.max_tokens))
    if config.encoders != "shared":
        encoder = separate_encoders(encoder)
    if config.encoders == "frozen_responses":
        encoder[0].sub_modules["document"].requires_grad_(False)
    model = StepEncoder(encoder)
    set_training(model, config)
    return model


def step_batches(
    config: StudentConfig, steps_per_epoch: int, steps_done: int, num_steps: int, means: "_Means"
) -> Iterator[tuple[int, StepBatch]]:
    """The steps after the first `steps_done`, numbered from 1; `means` learns how long they took to come."""
    shard = ray.train.get_dataset_shard("train")

    def windows(size: int) -> Iterator[list[dict[str, Any]]]:
        for table in shard.iter_batches(batch_size=size, batch_format="pyarrow"):
            yield table.to_pylist()

    for epoch in range(steps_done // steps_per_epoch, config.epochs):
        first = max(0, steps_done - epoch * steps_per_epoch)
        batches = epoch_batches(windows, epoch, first, config)
        for step in range(
            epoch * steps_per_epoch + first + 1, min((epoch + 1) * steps_per_epoch, num_steps) + 1
        ):
            begin = time.monotonic()
            batch = next(batches)
            means.waited_s += time.monotonic() - begin
            yield step, batch


class _Means:
    """Means over the steps since the last report, which are the same on every worker."""

    def __init__(self, contexts_per_step: int) -> None:
        self._contexts_per_step = contexts_per_step
        self._begin()

    def _begin(self) -> None:
        self._values: dict[str, list[float]] = {}
        self._since = time.monotonic()
        self.waited_s = 0.0

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self._values.setdefault(name, []).append(value.item())

    def take(self) -> dict[str, float]:
        """The means, and rates by the clock; begins anew."""
        seconds = time.monotonic() - self._since
        contexts = len(self._values["loss"]) * self._contexts_per_step
        found = {name: sum(values) / len(values) for name, values in self._values.items()}
        found |= {"contexts_per_s": contexts / seconds, "data_share": self.waited_s / seconds}
        self._begin()
        return found


def _training_rows(targets_uri: str) -> ray.data.Dataset:
    """The training rows in the order in which they were written."""
    rows = ray.data.read_parquet(_absolute(targets_uri)).filter(expr=col("split") == "train")
    rows.context.execution_options.preserve_order = True
    return rows.materialize()


def _publish(checkpoint: ray.train.Checkpoint, output_uri: str) -> None:
    """Copies the checkpoint's student to `output_uri`, replacing what was there."""
    filesystem, path = open_uri(output_uri)
    if filesystem.get_file_info(path).type != pyarrow.fs.FileType.NotFound:
        filesystem.delete_dir(path)
    filesystem.create_dir(path, recursive=True)
    pyarrow.fs.copy_files(
        f"{checkpoint.path}/{STUDENT_FOLDER}",
        path,
        source_filesystem=checkpoint.filesystem,
        destination_filesystem=filesystem,
    )


def _absolute(uri: str) -> str:
    """A URI as it is, a local path from the root: workers have another working directory."""
    return uri if "://" in uri else str(Path(uri).resolve())
