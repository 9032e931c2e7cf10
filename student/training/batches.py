"""Rows of TARGETS as steps: B contexts of all workers, N distinct response texts.

Every worker reads every row and builds the whole step; they share out the texts to encode, not the rows
(`student.training.step`). So the steps, their negatives and their order do not depend on the number of
workers.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from student.config import StudentConfig
from student.text import context_text
from teachers.texts import text_key

_POSITIVE_SOURCES = ("gold", "generated")
# Steps that are shuffled together, and whose responses the shared random negatives are drawn from.
_WINDOW_STEPS = 64

Row = dict[str, Any]


@dataclass
class StepBatch:
    """What one step computes on."""

    contexts: list[str]
    """[B]"""
    responses: list[str]
    """[N], each text once, whatever its case"""
    positive_mask: Tensor
    """[B, N], the context's gold and generated responses"""
    negative_mask: Tensor
    """[B, N], all other columns but the context's retrieved candidates"""
    own_mask: Tensor
    """[B, N], the context's candidates"""
    target_probs: Tensor
    """[B, N], all zeros in a row that no teacher scored"""
    gold: Tensor
    """[B], the column of the gold response"""

    def to(self, device: torch.device) -> "StepBatch":
        """The same step with its tensors on `device`."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return StepBatch(contexts=self.contexts, responses=self.responses, **tensors)


def epoch_batches(
    windows: Callable[[int], Iterable[Sequence[Row]]], epoch: int, first_step: int, config: StudentConfig
) -> Iterator[StepBatch]:
    """The steps of an epoch from `first_step` on; contexts that fill no step are left out.

    `windows(size)` yields the rows in an order that is always the same, `size` at a time. A window is
    shuffled by the seed and the epoch alone, so that a resumed epoch goes on with the rows not yet seen.
    """
    step = 0
    for number, rows in enumerate(windows(_WINDOW_STEPS * config.global_batch_size)):
        num_steps = len(rows) // config.global_batch_size
        step += num_steps
        if step <= first_step:
            continue
        shuffler = random.Random(f"{config.seed} {epoch} {number}")
        rows = shuffler.sample(rows, len(rows))
        pool = _responses(rows) if config.random_negatives else []
        for done in range(num_steps):
            negatives = shuffler.sample(pool, min(config.random_negatives, len(pool)))
            if step - num_steps + done >= first_step:
                chosen = rows[done * config.global_batch_size : (done + 1) * config.global_batch_size]
                yield step_batch(chosen, config.context_turns, config.max_candidates, negatives)


def _responses(rows: Sequence[Row]) -> list[str]:
    return list(
        dict.fromkeys(
            candidate["text"]
            for row in rows
            for candidate in row["candidates"]
            if candidate["source"] in _POSITIVE_SOURCES
        )
    )


def step_batch(
    rows: Sequence[Row], context_turns: int, max_candidates: int, random_negatives: Sequence[str] = ()
) -> StepBatch:
    """The step of `rows`; a row with more than `max_candidates` keeps its gold, then generated ones.

    A retrieved reply may well be a right answer: it is no negative of the context it was retrieved for, and
    the teachers say how right it is. So a row without targets has no use for its retrieved candidates.
    `random_negatives` are negatives of every context that does not have them as candidates (G2R §3.1).
    """
    kept = [_first_candidates(row, max_candidates) for row in rows]
    # Texts that differ in case only are one: "No" must not be a negative of "no".
    columns: dict[str, int] = {}
    responses: dict[str, str] = {}
    own = (candidate["text"] for candidates, _ in kept for candidate in candidates)
    for text in (*own, *random_negatives):
        columns.setdefault(text_key(text), len(columns))
        responses.setdefault(text_key(text), text)
    shape = (len(rows), len(columns))
    positive_mask, own_mask = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    negative_mask = torch.ones(shape, dtype=torch.bool)
    target_probs = torch.zeros(shape)
    for number, (candidates, probs) in enumerate(kept):
        for candidate, prob in zip(candidates, probs, strict=True):
            column = columns[text_key(candidate["text"])]
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
        gold=torch.tensor([columns[text_key(candidates[0]["text"])] for candidates, _ in kept]),
    )


def _first_candidates(row: Row, most: int) -> tuple[list[dict[str, Any]], list[float]]:
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
