"""Training of the student on TARGETS: Ray Train starts the workers, DeepSpeed takes the steps."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import torch
from torch import Tensor

from student.config import StudentConfig
from student.encoders.encoder import (
    EncoderSource,
    Side,
    load_encoder,
    separate_encoders,
    transformers_of,
)
from student.encoders.packaged import resolve_model
from student.retrieval.document_vectors import DocumentVectors, vectors_of_candidates
from student.training.averaging import averaged, copy_of_weights
from student.training.batches import StepBatch, epoch_batches
from student.training.checkpoints import TrainingState
from student.training.errors import memory_advice
from student.training.ray_trainer import (
    ModelSelection,
    TrainingLocation,
    WorkerLoop,
    fit,
    num_training_rows,
    windows,
)
from student.training.sparsity import SparsityController, activity, fold_thresholds, missed_budget
from student.training.sparsity import State as SparsityState
from student.training.step import StepEncoder, train_step
from student.training.validation import ValidationSet, set_training, validate, validation_set
from student.training.worker_loop import (
    TrainingTask,
    WriteModel,
    prepare_worker,
    run_steps,
    start_or_resume,
)
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
    steps_per_epoch = num_contexts // global_batch_size
    loop_config = {
        "student": student.model_dump(),
        "targets": absolute(targets_uri),
        "steps_per_epoch": steps_per_epoch,
        "num_steps": config.num_steps(num_contexts),
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
    counts = {**last, **validated, "contexts": num_contexts, "best step": measures["step"]}
    if config.kind == "sparse" and validated:
        reached = {name.removeprefix("validation_"): value for name, value in validated.items()}
        missed = missed_budget(config, reached)
        if missed:
            counts["warning"] = f"{last['warning']}; {missed}" if last.get("warning") else missed
    return counts


def train_loop_per_worker(loop: dict[str, Any]) -> dict[str, Any]:
    """Take the remaining steps on one worker, and return the last report and warning.

    A report has `step`, `steps`, `loss` with its parts (means over the steps since the last one),
    `learning_rate`, `contexts_per_s` and `data_share` (of the time, waiting for rows). A sparse student adds
    `context_terms`, `response_terms` and `flops`, a checkpoint the `validation_…` measures.
    """
    config = StudentConfig(**loop["student"])
    num_steps: int = loop["num_steps"]
    prepare_worker(config)
    model = build_model(config)
    pretrained = copy_of_weights(model) if config.pretrained_share else {}
    engine, state, warning = start_or_resume(model, config, num_steps)

    if loop["response_vectors"]:
        candidates = vectors_of_candidates(loop["targets"], DocumentVectors(*loop["response_vectors"]))
        engine.module.frozen_responses.add(*candidates, engine.device)
    sparsity = None
    if config.kind == "sparse":
        sparsity = SparsityController(config, num_steps, engine.module.encoder, state.sparsity)

    task = StudentTask(engine, config, sparsity, loop, pretrained)
    return {**run_steps(task, engine, state, config, num_steps), **warning}


class StudentTask(TrainingTask[StepBatch]):
    """A student that learns from TARGETS, and is validated on held-out examples."""

    section = "student"

    def __init__(
        self,
        engine: Any,
        config: StudentConfig,
        sparsity: SparsityController | None,
        loop: dict[str, Any],
        pretrained: dict[str, Tensor],
    ) -> None:
        self._engine = engine
        self._pretrained = pretrained
        self._config = config
        self._sparsity = sparsity
        self._targets_uri: str = loop["targets"]
        self._steps_per_epoch: int = loop["steps_per_epoch"]
        self._held_out = ValidationSet(**loop["validation"]) if loop["validation"] else None
        self.rows_per_step = config.global_batch_size

    def batches(self, steps_done: int) -> Iterator[StepBatch]:
        for epoch in range(steps_done // self._steps_per_epoch, self._config.epochs):
            first_step = max(0, steps_done - epoch * self._steps_per_epoch)
            yield from epoch_batches(partial(windows, self._targets_uri), epoch, first_step, self._config)

    def train_step(self, batch: StepBatch, step: int) -> dict[str, Tensor]:
        sparsity = self._sparsity
        penalty = partial(sparsity.penalty, step - 1) if sparsity else None

        with memory_advice(_LESS_MEMORY):
            losses, contexts, responses = train_step(self._engine, batch, self._config, penalty, step - 1)
        if sparsity is None:
            return losses._asdict()

        sparsity.steer(step - 1, contexts, responses)
        return losses._asdict() | activity(contexts, responses)

    def validate(self) -> tuple[dict[str, float], WriteModel]:
        measures: dict[str, float] = {}
        thresholds = self._sparsity.thresholds() if self._sparsity else {}
        if self._held_out:
            with averaged(self._engine.module, self._pretrained, self._config.pretrained_share):
                measures, thresholds = validate(self._engine, self._held_out, self._config, self._sparsity)
        return measures, partial(write_student, self._config, thresholds)

    def has_converged(self, state: TrainingState) -> bool:
        patience = self._config.early_stopping
        return patience is not None and state.validations_without_gain >= patience

    def sparsity_state(self) -> SparsityState | None:
        return self._sparsity.state() if self._sparsity else None


def build_model(config: StudentConfig) -> StepEncoder:
    """The module to train, on the CPU, from the config's encoder; DeepSpeed moves it to its device."""
    encoder = load_encoder(EncoderSource(config.model, config.kind, config.max_tokens))
    if config.encoders != "shared":
        encoder = separate_encoders(encoder)
    if config.encoders == "frozen_responses":
        encoder[0].sub_modules["document"].requires_grad_(False)

    for transformer in transformers_of(encoder).values():
        if config.frozen_layers is not None and config.kind == "dense":
            _freeze_lowest(transformer, config.frozen_layers)
        if not config.use_gpu:
            # In bf16 on a CPU the gradient of fused attention takes a third of a step, of this one little.
            transformer.set_attn_implementation("eager")

    model = StepEncoder(encoder)
    if config.dropout is not None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = config.dropout
    set_training(model, config)
    return model


def _freeze_lowest(transformer: Any, num_layers: int) -> None:
    """Keep the weights of the embeddings and of the lowest layers: none of their gradients is computed."""
    stacks = [
        name
        for name, module in transformer.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == transformer.config.num_hidden_layers
    ]
    for name, weight in transformer.named_parameters():  # in the order of the computation
        if name.startswith(f"{stacks[0]}.{num_layers}."):
            break
        weight.requires_grad_(False)


def write_student(
    config: StudentConfig, thresholds: dict[Side, float], weights: dict[str, Tensor], folder: Path
) -> None:
    """Write the student for sentence-transformers, a sparse one with its `thresholds`.

    Its weights are the mean of the trained `weights` and those before training, see
    `student.training.averaging`.
    """
    encoder = load_encoder(EncoderSource(config.model, config.kind, config.max_tokens))
    if config.encoders != "shared":
        encoder = separate_encoders(encoder)

    pretrained = encoder.state_dict()
    averages: dict[str, Tensor] = {}
    for name, weight in weights.items():
        name = name.removeprefix("encoder.")
        averages[name] = weight.lerp(pretrained[name].to(weight), config.pretrained_share)

    encoder.load_state_dict(averages, strict=False)  # without buffers and frozen weights
    fold_thresholds(encoder, thresholds)
    encoder.save(str(folder))
