"""A causal language model learns to continue conversations: token ids in, the model with new weights out.

M sequences of L tokens that go through the model together. The word embeddings stay as they are: in small
models they are most of the weights, and a short training has nothing new to say about words.
"""

import os
import random
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import torch
from torch import Tensor
from torch.nn import functional

from student.config import FinetuneConfig
from student.encoders.precision import mixed_precision
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
from teachers.dataset import read_rows
from teachers.storage import absolute

_WINDOW_STEPS = 64  # that are shuffled together
_VALIDATION_SEQUENCES = 100
_LESS_MEMORY = "lower finetune.tokens_per_forward"

Sequences = Sequence[list[int]]


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
    num_steps = config.epochs * (num_sequences // per_step)
    loop_config = {
        "finetune": config.model_copy(update={"sequences_per_step": per_step}).model_dump(),
        "sequences": absolute(sequences_uri),
        "model_folder": model_folder,
        "steps_per_epoch": num_sequences // per_step,
        "num_steps": num_steps - num_steps % config.accumulation_steps,
        "validation": held_out[:_VALIDATION_SEQUENCES],
    }

    measures, last = fit(
        WorkerLoop(train_loop_per_worker, loop_config, _LESS_MEMORY),
        config,
        location,
        callbacks,
        ModelSelection("validation_loss" if held_out else None, "min"),
    )
    validated = {name: measures[name] for name in ("validation_loss",) if name in measures}
    return {**last, **validated, "sequences": num_sequences, "best step": measures["step"]}


def train_loop_per_worker(loop: dict[str, Any]) -> dict[str, Any]:
    """What each worker runs: all the steps that are left. Returns the last report and warning.

    A report has `step`, `steps`, `loss` (nats per token, mean over the steps since the last one),
    `learning_rate`, `contexts_per_s`, `data_share`, and at a checkpoint `validation_loss`; before the
    first step `validation_loss` is that of the model as it came.
    """
    config = FinetuneConfig(**loop["finetune"])
    num_steps: int = loop["num_steps"]
    os.environ["DS_ACCELERATOR"] = "cuda" if config.use_gpu else "cpu"  # DeepSpeed guesses else
    torch.set_num_threads(config.cpus_per_worker)
    model = StepLanguageModel(loop["model_folder"])
    start = partial(start_engine, model, config, num_steps // config.accumulation_steps)
    engine, state, warning = resume(start, config)
    validation = [(row["tokens"], row["num_known"]) for row in loop["validation"]]
    metrics: dict[str, Any] = {}
    if validation and not state.step:
        before = _mean_loss(engine, validation, config)
        ray.train.report({"step": 0, "steps": num_steps, "loss": before, "validation_loss": before})
    means = Means(config.sequences_per_step)
    steps = _steps(loop["sequences"], config, loop["steps_per_epoch"], state.step, num_steps, means)
    for step, sequences in steps:
        with memory_advice(_LESS_MEMORY):
            loss = _train_step(engine, sequences, config, completes=step % config.accumulation_steps == 0)
        means.add({"loss": loss})
        at_checkpoint = step % config.checkpoint_every_steps == 0 or step == num_steps
        if not at_checkpoint and step % config.report_every_steps:
            continue
        metrics = means.take(step, num_steps, engine, "finetune")
        if not at_checkpoint:
            ray.train.report(metrics)
            continue
        if validation:
            metrics["validation_loss"] = _mean_loss(engine, validation, config)
        state = state.after(step, None, None)
        save(engine, state, metrics, partial(_write_model, loop["model_folder"]))
    return {**metrics, **warning}


class StepLanguageModel(torch.nn.Module):
    """The module that DeepSpeed trains: tokens to the sum of their losses."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        from transformers import AutoModelForCausalLM  # takes seconds, which no other stage should wait for

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


Known = tuple[list[int], int]
"""Token ids of a sequence, and how many at its beginning are known and not learned."""


def _steps(
    sequences_uri: str,
    config: FinetuneConfig,
    steps_per_epoch: int,
    steps_done: int,
    num_steps: int,
    means: Means,
) -> Iterator[tuple[int, list[Known]]]:
    """The steps after the first `steps_done`, numbered from 1, the same on every worker.

    A window of rows is shuffled by the seed and the epoch alone, so that a resumed epoch goes on with the
    rows not yet seen.
    """
    step = 0
    for epoch in range(config.epochs):
        begin, in_epoch = time.monotonic(), 0
        for number, rows in enumerate(windows(sequences_uri, _WINDOW_STEPS * config.sequences_per_step)):
            rows = random.Random(f"{config.seed} {epoch} {number}").sample(rows, len(rows))
            for first in range(0, len(rows) - config.sequences_per_step + 1, config.sequences_per_step):
                if in_epoch == steps_per_epoch or step == num_steps:
                    break
                in_epoch, step = in_epoch + 1, step + 1
                if step > steps_done:
                    means.waited_s += time.monotonic() - begin
                    chosen = rows[first : first + config.sequences_per_step]
                    yield step, [(row["tokens"], row["num_known"]) for row in chosen]
                    begin = time.monotonic()


def _train_step(engine: Any, sequences: list[Known], config: FinetuneConfig, completes: bool) -> Tensor:
    """The step's loss per token; the weights change if this `completes` an accumulation."""
    groups = _own_groups(engine, sequences, config.tokens_per_forward)
    num_tokens = sum(len(tokens) - known for tokens, known in sequences)
    total = torch.zeros((), device=engine.device)
    for number, group in enumerate(groups, start=1):
        engine.set_gradient_accumulation_boundary(completes and number == len(groups))
        loss = _loss(engine, group, config)
        # DeepSpeed takes the mean over the workers, whose gradients are parts of one: their sum is wanted.
        engine.backward(loss * torch.distributed.get_world_size() / num_tokens)
        total += loss.detach()
    engine.step()
    torch.distributed.all_reduce(total)
    return total / num_tokens


def _mean_loss(engine: Any, sequences: list[Known], config: FinetuneConfig) -> float:
    """Nats per token of all workers' shares; every worker has to call it."""
    engine.module.eval()
    total = torch.zeros((), device=engine.device)
    with torch.no_grad():
        for group in _own_groups(engine, sequences, config.tokens_per_forward):
            total += _loss(engine, group, config)
    engine.module.train()
    torch.distributed.all_reduce(total)
    return float(total) / sum(len(tokens) - known for tokens, known in sequences)


def _own_groups(engine: Any, sequences: list[Known], tokens_per_forward: int) -> list[list[Known]]:
    """This worker's share, sequences of like length together; every worker has as many groups.

    A group counts for its longest sequence's tokens times its size. Where a worker has a group less, as
    ZeRO's collectives do not allow, its last sequence is split off or comes as an empty one.
    """
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    by_length = sorted(sequences, key=lambda known: len(known[0]))
    # Grouped before they are shared out: the same groups wherever they are computed.
    shares = [by_length[first : first + world_size] for first in range(0, len(by_length), world_size)]
    groups: list[list[Known]] = []
    for share in shares:
        own = share[rank] if rank < len(share) else (share[0][0][: share[0][1]], share[0][1])
        longest = max(len(tokens) for tokens, _ in share)
        if groups and (len(groups[-1]) + 1) * longest <= tokens_per_forward:
            groups[-1].append(own)
        else:
            groups.append([own])
    return groups


def _loss(engine: Any, group: list[Known], config: FinetuneConfig) -> Tensor:
    """Sum over the group's tokens that are learned."""
    longest = max(len(tokens) for tokens, _ in group)
    tokens = torch.zeros(len(group), longest, dtype=torch.long)
    mask = torch.zeros(len(group), longest, dtype=torch.long)
    for row, (found, _) in enumerate(group):
        tokens[row, : len(found)] = torch.tensor(found)
        mask[row, : len(found)] = 1
    with mixed_precision(engine.device, config.precision):
        loss: Tensor = engine(tokens.to(engine.device), mask.to(engine.device), group[0][1])
    return loss


def _write_model(model_folder: str, weights: dict[str, Tensor], folder: Path) -> None:
    """The model with its tokenizer, in the precision in which it came."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype="auto")
    names = {name.removeprefix("model."): weight for name, weight in weights.items()}
    missing = model.load_state_dict(names, strict=False)  # without what is frozen
    assert not missing.unexpected_keys
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
