"""Fine-tuning of a causal language model on conversations: token ids in, the model with new weights out.

M sequences of L tokens that go through the model together. The word embeddings are frozen: in small models
they are most of the weights, and a short training has little to teach about words.
"""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ray.train
import torch
from torch import Tensor
from torch.nn import functional

from student.config import FinetuneConfig
from student.encoders.precision import mixed_precision
from student.training.errors import memory_advice
from student.training.ray_trainer import (
    ModelSelection,
    TrainingLocation,
    WorkerLoop,
    fit,
    num_training_rows,
    windows,
)
from student.training.worker_loop import (
    TrainingTask,
    WriteModel,
    prepare_worker,
    run_steps,
    start_or_resume,
)
from teachers.dataset import read_rows
from teachers.storage import absolute

_WINDOW_STEPS = 64  # shuffled together
_VALIDATION_SEQUENCES = 100
_LESS_MEMORY = "lower finetune.tokens_per_forward"


class TokenSequence(NamedTuple):
    """Token ids of a conversation; the first `num_known` carry no loss."""

    tokens: list[int]
    num_known: int


def _token_sequence(row: dict[str, Any]) -> TokenSequence:
    return TokenSequence(row["tokens"], row["num_known"])


def train_language_model(
    sequences_uri: str,
    model_folder: str,
    location: TrainingLocation,
    config: FinetuneConfig,
    callbacks: list[ray.train.UserCallback],
) -> dict[str, Any]:
    """Train the model, write it with its tokenizer, and return counts and losses in nats per token.

    It learns the `train` rows of SEQUENCES. The checkpoint with the lowest loss on the first of the
    `validation` rows is the best; without such rows the last one is. The same call resumes from the newest
    checkpoint, on any number of workers.

    Raises:
        ValueError: there are no training rows, the loss is not finite, or memory does not suffice.
    """
    num_sequences = num_training_rows(sequences_uri)
    held_out = read_rows(sequences_uri, "validation")
    per_step = min(config.sequences_per_step, num_sequences)
    steps_per_epoch = num_sequences // per_step
    num_steps = config.epochs * steps_per_epoch
    loop_config = {
        "finetune": config.model_copy(update={"sequences_per_step": per_step}).model_dump(),
        "sequences": absolute(sequences_uri),
        "model_folder": model_folder,
        "num_steps": config.whole_updates("finetune", num_steps),
        "validation": held_out[:_VALIDATION_SEQUENCES],
    }

    measures, last = fit(
        WorkerLoop(train_loop_per_worker, loop_config, _LESS_MEMORY),
        config,
        location,
        callbacks,
        ModelSelection("validation_loss" if held_out else None, "min"),
    )
    counts = dict(last)
    if "validation_loss" in measures:
        counts["validation_loss"] = measures["validation_loss"]
    return {**counts, "sequences": num_sequences, "best step": measures["step"]}


def train_loop_per_worker(loop: dict[str, Any]) -> dict[str, Any]:
    """Take the remaining steps on one worker, and return the last report and warning.

    A report has `step`, `steps`, `loss` (nats per token, mean over the steps since the last one),
    `learning_rate`, `contexts_per_s`, `data_share`, and at a checkpoint `validation_loss`. The report of
    step 0 has the `validation_loss` of the untrained model.
    """
    config = FinetuneConfig(**loop["finetune"])
    num_steps: int = loop["num_steps"]
    prepare_worker(config)
    engine, state, warning = start_or_resume(StepLanguageModel(loop["model_folder"]), config, num_steps)

    task = LanguageModelTask(engine, config, loop)
    if state.step == 0:
        measures, _ = task.validate()
        if measures:
            loss = measures["validation_loss"]
            ray.train.report({"step": 0, "steps": num_steps, "loss": loss, **measures})

    return {**run_steps(task, engine, state, config, num_steps), **warning}


class LanguageModelTask(TrainingTask[list[TokenSequence]]):
    """A language model that learns SEQUENCES, and is validated on held-out ones."""

    section = "finetune"

    def __init__(self, engine: Any, config: FinetuneConfig, loop: dict[str, Any]) -> None:
        self._engine = engine
        self._config = config
        self._sequences_uri: str = loop["sequences"]
        self._model_folder: str = loop["model_folder"]
        self._held_out = [_token_sequence(row) for row in loop["validation"]]
        self.rows_per_step = config.sequences_per_step

    def batches(self, steps_done: int) -> Iterator[list[TokenSequence]]:
        """The batches of the steps after the first `steps_done`, the same on every worker.

        The seed and the epoch alone shuffle a window of rows, so that a resumed epoch continues with the
        unseen ones.
        """
        size = self._config.sequences_per_step
        step = 0

        for epoch in range(self._config.epochs):
            for number, rows in enumerate(windows(self._sequences_uri, _WINDOW_STEPS * size)):
                shuffler = random.Random(f"{self._config.seed} {epoch} {number}")
                rows = shuffler.sample(rows, len(rows))
                for first in range(0, len(rows) - size + 1, size):
                    step += 1
                    if step > steps_done:
                        yield [_token_sequence(row) for row in rows[first : first + size]]

    def train_step(self, batch: list[TokenSequence], step: int) -> dict[str, Tensor]:
        completes = step % self._config.accumulation_steps == 0
        with memory_advice(_LESS_MEMORY):
            return {"loss": _train_step(self._engine, batch, self._config, completes)}

    def validate(self) -> tuple[dict[str, float], WriteModel]:
        measures = {}
        if self._held_out:
            measures["validation_loss"] = _mean_loss(self._engine, self._held_out, self._config)
        return measures, partial(_write_model, self._model_folder)


class StepLanguageModel(torch.nn.Module):
    """The module that DeepSpeed trains: tokens to the sum of their losses."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        from transformers import AutoModelForCausalLM  # takes seconds, which other stages need not wait

        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model.get_input_embeddings().weight.requires_grad_(False)

    def forward(self, tokens: Tensor, mask: Tensor, num_known: int) -> Tensor:
        """Sum of -log p over the tokens [M, L] after the first `num_known`, in nats; `mask` [M, L].

        `num_known` is at least 1.
        """
        num_predicted = tokens.shape[1] - num_known
        logits = self.model(
            input_ids=tokens, attention_mask=mask, logits_to_keep=num_predicted + 1, use_cache=False
        ).logits[:, :-1]
        targets = tokens[:, num_known:].masked_fill(mask[:, num_known:] == 0, -100)
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")


def _train_step(
    engine: Any, sequences: list[TokenSequence], config: FinetuneConfig, completes: bool
) -> Tensor:
    """Take the step, and return its loss per token; the weights change if it `completes` an accumulation."""
    groups = _groups_of_rank(sequences, config.tokens_per_forward)
    num_tokens = _num_predicted(sequences)
    total = torch.zeros((), device=engine.device)

    for number, group in enumerate(groups, start=1):
        engine.set_gradient_accumulation_boundary(completes and number == len(groups))
        loss = _loss(engine, group, config)
        # DeepSpeed averages the workers' gradients, but they are parts of one and have to be added.
        engine.backward(loss * torch.distributed.get_world_size() / num_tokens)
        total += loss.detach()

    engine.step()
    torch.distributed.all_reduce(total)
    return total / num_tokens


def _mean_loss(engine: Any, sequences: list[TokenSequence], config: FinetuneConfig) -> float:
    """Loss in nats per token over all workers' shares; every worker has to call it."""
    engine.module.eval()
    total = torch.zeros((), device=engine.device)

    with torch.no_grad():
        for group in _groups_of_rank(sequences, config.tokens_per_forward):
            total += _loss(engine, group, config)

    engine.module.train()
    torch.distributed.all_reduce(total)
    return float(total) / _num_predicted(sequences)


def _num_predicted(sequences: list[TokenSequence]) -> int:
    """Number of tokens that carry a loss."""
    return sum(len(sequence.tokens) - sequence.num_known for sequence in sequences)


def _groups_of_rank(sequences: list[TokenSequence], tokens_per_forward: int) -> list[list[TokenSequence]]:
    """This worker's share in groups of similar length; every worker has the same number of groups.

    A group's cost is its longest sequence's tokens times its size. ZeRO's collectives need equally many
    groups: a worker without a sequence of its own gets one without predicted tokens.
    """
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    by_length = sorted(sequences, key=lambda sequence: len(sequence.tokens))
    groups: list[list[TokenSequence]] = []

    # The size of a group depends on all ranks' sequences: the groups end at the same places everywhere.
    for first in range(0, len(by_length), world_size):
        share = by_length[first : first + world_size]
        if rank < len(share):
            sequence = share[rank]
        else:
            num_known = share[0].num_known
            sequence = TokenSequence(share[0].tokens[:num_known], num_known)

        longest = len(share[-1].tokens)
        if groups and (len(groups[-1]) + 1) * longest <= tokens_per_forward:
            groups[-1].append(sequence)
        else:
            groups.append([sequence])

    return groups


def _loss(engine: Any, group: list[TokenSequence], config: FinetuneConfig) -> Tensor:
    """Sum of the losses of the group's predicted tokens, in nats."""
    longest = max(len(sequence.tokens) for sequence in group)
    tokens = torch.zeros(len(group), longest, dtype=torch.long)
    mask = torch.zeros(len(group), longest, dtype=torch.long)
    for row, sequence in enumerate(group):
        num_tokens = len(sequence.tokens)
        tokens[row, :num_tokens] = torch.tensor(sequence.tokens)
        mask[row, :num_tokens] = 1

    with mixed_precision(engine.device, config.precision):
        loss: Tensor = engine(tokens.to(engine.device), mask.to(engine.device), group[0].num_known)
    return loss


def _write_model(model_folder: str, weights: dict[str, Tensor], folder: Path) -> None:
    """Write the model with its tokenizer, in its original precision."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype="auto")
    model_weights = {name.removeprefix("model."): weight for name, weight in weights.items()}
    keys = model.load_state_dict(model_weights, strict=False)  # without frozen weights
    assert not keys.unexpected_keys
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
