"""Rows of TARGETS as one training step: B contexts, N distinct response texts."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from student.text import context_text

_POSITIVE_SOURCES = ("gold", "generated")


@dataclass
class StepBatch:
    """What one step of one worker computes on."""

    contexts: list[str]
    """[B]"""
    responses: list[str]
    """[N], each text once, whatever its case"""
    positive_mask: Tensor
    """[B, N], the context's gold and generated responses"""
    negative_mask: Tensor
    """[B, N], other contexts' candidates and the context's random ones, unless they are its positives"""
    own_mask: Tensor
    """[B, N], the context's candidates"""
    target_probs: Tensor
    """[B, N], all zeros in a row that no teacher scored"""


def step_batch(rows: list[dict[str, Any]], context_turns: int, max_candidates: int) -> StepBatch:
    """The step of `rows`; a row with more than `max_candidates` keeps its gold, then generated ones.

    A retrieved reply may well be a right answer: it is no negative of the context it was retrieved for, and
    the teachers say how right it is. So a row without targets has no use for its retrieved candidates.
    """
    kept = [_first_candidates(row, max_candidates) for row in rows]
    # Texts that differ in case only are one: "No" must not be a negative of "no".
    columns: dict[str, int] = {}
    responses: dict[str, str] = {}
    for candidates, _ in kept:
        for candidate in candidates:
            columns.setdefault(candidate["text"].casefold(), len(columns))
            responses.setdefault(candidate["text"].casefold(), candidate["text"])
    shape = (len(rows), len(columns))
    positive_mask, own_mask = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    negative_mask = torch.ones(shape, dtype=torch.bool)
    target_probs = torch.zeros(shape)
    for number, (candidates, probs) in enumerate(kept):
        for candidate, prob in zip(candidates, probs, strict=True):
            column = columns[candidate["text"].casefold()]
            own_mask[number, column] = True
            positive_mask[number, column] |= candidate["source"] in _POSITIVE_SOURCES
            negative_mask[number, column] &= candidate["source"] == "random"
            target_probs[number, column] += prob
    return StepBatch(
        contexts=[context_text(row["context"], context_turns) for row in rows],
        responses=list(responses.values()),
        positive_mask=positive_mask,
        negative_mask=negative_mask,
        own_mask=own_mask,
        target_probs=target_probs,
    )


def _first_candidates(row: dict[str, Any], most: int) -> tuple[list[dict[str, Any]], list[float]]:
    """At most `most` candidates, positives first, and their target distribution, zeros where none."""
    candidates, probs = row["candidates"], row["target_probs"]
    if probs is None:
        candidates = [candidate for candidate in candidates if candidate["source"] != "retrieved"]
        probs = [0.0] * len(candidates)
    pairs = sorted(
        zip(candidates, map(float, probs), strict=True),
        key=lambda pair: pair[0]["source"] not in _POSITIVE_SOURCES,
    )[:most]
    total = sum(prob for _, prob in pairs)
    return [candidate for candidate, _ in pairs], [prob / total if total else 0.0 for _, prob in pairs]
