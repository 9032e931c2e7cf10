"""Validation of the student while it trains. B contexts, N distinct responses."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from student.config import StudentConfig
from student.encoders.encoder import Side
from student.evaluation.held_out import excluded_columns
from student.evaluation.ranking import NUM_CANDIDATES, ranking_metrics, sample_candidates
from student.text import context_text
from student.training.batches import own_turn_texts
from student.training.losses import cross_entropy
from student.training.sparsity import SparsityController, activity
from student.training.step import encode_texts


@dataclass(frozen=True)
class ValidationSet:
    """Contexts as the student's text, their responses, and the 19 others that each is ranked with."""

    contexts: list[str]
    """[B]"""
    responses: list[str]
    """[N], distinct; own turns of contexts that are no response last"""
    num_responses: int
    """How many of them are responses"""
    gold: list[int]
    """[B], the place of each context's response"""
    excluded: list[set[int]]
    """[B], the places of what the conversation has said, and of other correct responses"""
    own_turns: list[list[int]]
    """[B], the places of the context's turns that are its negatives in training: they are ranked, too"""
    candidates: list[list[int]]
    """[B, 20], the gold response first, fewer in a tiny set"""


def validation_set(examples: list[dict[str, Any]], config: StudentConfig) -> ValidationSet | None:
    """Return the set of rows of EXAMPLES; None where their responses are too few to rank."""
    responses = list(dict.fromkeys(row["gold_response"] for row in examples))
    if len(responses) < NUM_CANDIDATES:
        return None

    places = {response: number for number, response in enumerate(responses)}
    gold: list[int] = []
    contexts: list[str] = []
    correct: dict[str, set[int]] = {}
    for row in examples:
        gold.append(places[row["gold_response"]])
        contexts.append(context_text(row["context"], config.context_turns))
        correct.setdefault(contexts[-1], set()).add(gold[-1])

    excluded = excluded_columns(examples, gold, places, examples)
    for row_excluded, context, place in zip(excluded, contexts, gold, strict=True):
        row_excluded |= correct[context] - {place}

    own_turns: list[list[int]] = []
    for row in examples:
        texts = own_turn_texts(row, config.own_turn_negatives)
        own_turns.append([places.setdefault(text, len(places)) for text in texts])

    return ValidationSet(
        contexts=contexts,
        responses=list(places),
        num_responses=len(responses),
        gold=gold,
        excluded=excluded,
        own_turns=own_turns,
        candidates=sample_candidates(gold, range(len(responses)), excluded, config.seed),
    )


def validate(
    engine: Any, held_out: ValidationSet, config: StudentConfig, sparsity: SparsityController | None
) -> tuple[dict[str, float], dict[Side, float]]:
    """Return `validation_loss`, `validation_mrr` and `validation_hits@1/20`; every worker must call it.

    The loss is the cross-entropy against all responses but the excluded ones. It and the MRR have the own
    turns that are negatives in training: the checkpoint is chosen that answers and does not echo.

    A sparse student is measured with the thresholds that meet its budget on these texts: they are the second
    result, and the first contains its `activity`.
    """
    engine.module.eval()
    with sparsity.lowered() if sparsity else nullcontext():
        contexts = encode_texts(engine, held_out.contexts, "context", config)
        responses = encode_texts(engine, held_out.responses, "response", config)
    set_training(engine.module, config)

    measured: dict[str, Tensor] = {}
    thresholds: dict[Side, float] = {}
    if sparsity:
        contexts, responses, thresholds = sparsity.calibrate(contexts, responses)
        measured = activity(contexts, responses)

    scores = contexts @ responses.T
    measured["loss"], ranking = held_out_metrics(held_out, scores, config.similarity_scale)

    metrics = {f"validation_{name}": value.item() for name, value in measured.items()}
    for name in ("mrr", "hits@1/20"):
        if name in ranking:
            metrics[f"validation_{name}"] = ranking[name]
    return metrics, thresholds


def held_out_metrics(
    held_out: ValidationSet, scores: Tensor, similarity_scale: float
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss and `ranking_metrics` of `scores` [B, N], without the excluded responses.

    Scores that are not finite have no ranking, and a loss that is not finite.

    Of the turns that are no response, only a context's own ones are ranked for it.
    """
    positives = torch.zeros_like(scores, dtype=torch.bool)
    positives[torch.arange(len(held_out.gold)), held_out.gold] = True

    is_excluded = torch.zeros_like(positives)
    is_excluded[:, held_out.num_responses :] = True
    for row, (places, own_turns) in enumerate(zip(held_out.excluded, held_out.own_turns, strict=True)):
        is_excluded[row, list(places)] = True
        is_excluded[row, own_turns] = False

    loss = cross_entropy(similarity_scale * scores, positives, ~positives & ~is_excluded)
    if not torch.isfinite(scores).all():
        return loss, {}  # the loss says so, and ends the training

    others_first = scores.masked_fill(is_excluded, scores.min() - 1)
    return loss, ranking_metrics(others_first.cpu().numpy(), held_out.gold, held_out.candidates)


def set_training(model: torch.nn.Module, config: StudentConfig) -> None:
    """Turn dropout on, except in a frozen response encoder, whose vectors are those of the index."""
    model.train()
    if config.encoders == "frozen_responses":
        model.encoder[0].sub_modules["document"].eval()
