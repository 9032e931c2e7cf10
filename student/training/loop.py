"""The student learns from TARGETS: Ray Train starts the workers, DeepSpeed takes the steps."""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import torch
from torch import Tensor

from student.config import StudentConfig
from student.encoders.encoder import EncoderSource, Side, load_encoder, separate_encoders
from student.encoders.packaged import resolve_model
from student.retrieval.document_vectors import DocumentVectors, vectors_of_candidates
from student.training.batches import StepBatch, epoch_batches
from student.training.checkpoints import resume, save
from student.training.deepspeed_engine import start_engine
from student.training.errors import memory_advice
from student.training.ray_trainer import (
    Means,
    ModelSelection,
    TrainingLocation,
    WorkerLoop,
    fit,
    num_training_rows,
    windows,
)
from student.training.sparsity import SparsityController, activity, fold_thresholds, missed_budget
from student.training.step import StepEncoder, train_step
from student.training.validation import ValidationSet, set_training, validate, validation_set
from teachers.dataset import read_rows
from teachers.storage import absolute

_LESS_MEMORY = "lower student.micro_batch_size, or set student.gradient_cache"


def train_student(
    targets_uri: str,
    examples_uri: str,
    location: TrainingLocation,
    config: StudentConfig,
    callbacks: list[ray.train.UserCallback],
    response_vectors: DocumentVectors | None = None,
) -> dict[str, Any]:
    """Train the student, and return counts and its last measures.

    Steps consist of the `train` rows of TARGETS, shuffled by the seed alone; rows that do not fill a step
    are dropped. The same call resumes from the newest checkpoint, on any number of workers. Each checkpoint
    is validated on the `validation` rows of EXAMPLES. The one with the best MRR becomes the student; without
    validation rows the last one does. The callbacks run on Ray Train's controller and get every report, see
    `train_loop_per_worker`. `response_vectors` hold the vectors that a frozen encoder has already computed.

    Raises:
        ValueError: there are no training rows, the loss is not finite, or memory does not suffice.
    """
    num_contexts = num_training_rows(targets_uri)
    global_batch_size = min(config.global_batch_size, num_contexts)
    student = config.model_copy(
        update={"model": resolve_model(config.model), "global_batch_size": global_batch_size}
    )
    held_out = validation_set(read_rows(examples_uri, "validation"), config)
    num_steps = config.epochs * (num_contexts // global_batch_size)
    loop_config = {
        "student": student.model_dump(),
        "targets": absolute(targets_uri),
        "steps_per_epoch": num_contexts // global_batch_size,
        "num_steps": num_steps - num_steps % config.accumulation_steps,
        "validation": asdict(held_out) if held_out else None,
        "response_vectors": [absolute(uri) for uri in response_vectors] if response_vectors else None,
    }

    measures, last = fit(
        WorkerLoop(train_loop_per_worker, loop_config, _LESS_MEMORY),
        config,
        location,
        callbacks,
        ModelSelection("validation_mrr" if held_out else None, "max"),
    )
    validated = {name: value for name, value in measures.items() if name.startswith("validation_")}
    missed = None
    if config.kind == "sparse" and validated:
        missed = missed_budget(
            config, {name.removeprefix("validation_"): found for name, found in validated.items()}
        )
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
    if loop["response_vectors"]:
        candidates = vectors_of_candidates(loop["targets"], DocumentVectors(*loop["response_vectors"]))
        engine.module.frozen_responses.know(*candidates, engine.device)
    sparsity = None
    if config.kind == "sparse":
        sparsity = SparsityController(config, num_steps, model.encoder, state.sparsity)

    metrics: dict[str, Any] = {}
    means = Means(config.global_batch_size)
    steps = step_batches(loop["targets"], config, loop["steps_per_epoch"], state.step, num_steps, means)
    for step, batch in steps:
        if config.early_stopping and state.validations_without_gain >= config.early_stopping:
            break
        with memory_advice(_LESS_MEMORY):
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
        metrics = means.take(step, num_steps, engine, "student")
        if not at_checkpoint:
            ray.train.report(metrics)
            continue
        thresholds = sparsity.thresholds() if sparsity else {}
        if held_out:
            validated, thresholds = validate(engine, held_out, config, sparsity)
            metrics |= validated
        state = state.after(step, metrics.get("validation_mrr"), sparsity.state() if sparsity else None)
        save(engine, state, metrics, partial(write_student, config, thresholds))
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
    targets_uri: str,
    config: StudentConfig,
    steps_per_epoch: int,
    steps_done: int,
    num_steps: int,
    means: Means,
) -> Iterator[tuple[int, StepBatch]]:
    """The steps after the first `steps_done`, numbered from 1; `means` learns how long they took to come."""
    for epoch in range(steps_done // steps_per_epoch, config.epochs):
        first = max(0, steps_done - epoch * steps_per_epoch)
        batches = epoch_batches(partial(windows, targets_uri), epoch, first, config)
        for step in range(
            epoch * steps_per_epoch + first + 1, min((epoch + 1) * steps_per_epoch, num_steps) + 1
        ):
            begin = time.monotonic()
            batch = next(batches)
            means.waited_s += time.monotonic() - begin
            yield step, batch


def write_student(
    config: StudentConfig, thresholds: dict[Side, float], weights: dict[str, Tensor], folder: Path
) -> None:
    """The student for sentence-transformers; a sparse one's `thresholds` become part of it."""
    encoder = load_encoder(EncoderSource(config.model, config.kind, config.max_tokens))
    if config.encoders != "shared":
        encoder = separate_encoders(encoder)
    names = {name.removeprefix("encoder."): weight for name, weight in weights.items()}
    encoder.load_state_dict(names, strict=False)  # without buffers and what is frozen
    fold_thresholds(encoder, thresholds)
    encoder.save(str(folder))
