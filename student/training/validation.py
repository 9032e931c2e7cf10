"""The student on held-out examples while it trains. B contexts, N distinct replies."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from student.config import StudentConfig
from student.encoders.encoder import Side
from student.evaluation.ranking import NUM_CANDIDATES, ranking_metrics, sample_candidates
from student.text import context_text
from student.training.losses import cross_entropy
from student.training.sparsity import SparsityController, activity
from student.training.step import encode_texts


@dataclass(frozen=True)
class ValidationSet:
    """Contexts as the student's text, their replies, and the 19 others that each is ranked with."""

    contexts: list[str]
    """[B]"""
    replies: list[str]
    """[N], distinct"""
    gold: list[int]
    """[B], the place of each context's reply"""
    also_right: list[list[int]]
    """[B], the places of replies to the same context in other rows"""
    candidates: list[list[int]]
    """[B, 20], the gold reply first"""


def validation_set(examples: list[dict[str, Any]], config: StudentConfig) -> ValidationSet | None:
    """Of rows of EXAMPLES; None where their replies are too few to rank."""
    replies = list(dict.fromkeys(row["gold_response"] for row in examples))
    if len(replies) < NUM_CANDIDATES:
        return None
    place = {reply: number for number, reply in enumerate(replies)}
    gold = [place[row["gold_response"]] for row in examples]
    contexts = [context_text(row["context"], config.context_turns) for row in examples]
    right: dict[str, set[int]] = {}
    for context, own in zip(contexts, gold, strict=True):
        right.setdefault(context, set()).add(own)
    return ValidationSet(
        contexts=contexts,
        replies=replies,
        gold=gold,
        also_right=[sorted(right[context] - {own}) for context, own in zip(contexts, gold, strict=True)],
        candidates=sample_candidates(gold, range(len(replies)), config.seed),
    )


def validate(
    engine: Any, held_out: ValidationSet, config: StudentConfig, sparsity: SparsityController | None
) -> tuple[dict[str, float], dict[Side, float]]:
    """`validation_loss` (cross-entropy against all replies that are not right, too), `…_mrr` and
    `…_hits@1/20`, by all workers.

    A sparse student is measured with the thresholds that meet its budget on these texts; they are the second
    result, and the first has its `activity`, too.
    """
    engine.module.eval()
    with sparsity.lowered() if sparsity else nullcontext():
        contexts = encode_texts(engine, held_out.contexts, "context", config)
        replies = encode_texts(engine, held_out.replies, "response", config)
    set_training(engine.module, config)
    measured: dict[str, Tensor] = {}
    thresholds: dict[Side, float] = {}
    if sparsity:
        contexts, replies, thresholds = sparsity.calibrate(contexts, replies)
        measured = activity(contexts, replies)
    scores = contexts @ replies.T
    loss, ranked = measured_against(held_out, scores, config.similarity_scale)
    measured["loss"] = loss
    found = {name: value.item() for name, value in measured.items()}
    found |= {name: ranked[name] for name in ("mrr", "hits@1/20")}
    return {f"validation_{name}": value for name, value in found.items()}, thresholds


def measured_against(
    held_out: ValidationSet, scores: Tensor, similarity_scale: float
) -> tuple[Tensor, dict[str, float]]:
    """The loss and `ranking_metrics` of the student's `scores` [B, N]; what is right, too, is left out."""
    positives = torch.zeros_like(scores, dtype=torch.bool)
    positives[torch.arange(len(held_out.gold)), held_out.gold] = True
    also_right = torch.zeros_like(positives)
    for row, places in enumerate(held_out.also_right):
        also_right[row, places] = True
    loss = cross_entropy(similarity_scale * scores, positives, ~positives & ~also_right)
    others_first = scores.masked_fill(also_right, scores.min() - 1)
    return loss, ranking_metrics(others_first.cpu().numpy(), held_out.gold, held_out.candidates)


def set_training(model: torch.nn.Module, config: StudentConfig) -> None:
    """Turns dropout on, but for a frozen response encoder, whose vectors are those of the index."""
    model.train()
    if config.encoders == "frozen_responses":
        model.encoder[0].sub_modules["document"].eval()
