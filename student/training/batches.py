"""Training steps from rows of TARGETS: B contexts of all workers, N distinct response texts.

Every worker reads every row and builds the whole step. Workers divide the texts to encode, not the rows
(`student.training.step`). So the steps, their negatives and their order do not depend on the number of
workers.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from student.config import StudentConfig
from student.text import context_text
from teachers.records import POSITIVE_SOURCES
from teachers.texts import said_keys, text_key

# Steps shuffled together; shared random negatives are drawn from their responses.
_WINDOW_STEPS = 64

Row = dict[str, Any]


@dataclass
class StepBatch:
    """Inputs of one training step."""

    contexts: list[str]
    """[B]"""
    responses: list[str]
    """[N], each text once, whatever its case"""
    positive_mask: Tensor
    """[B, N], the context's gold and generated responses"""
    negative_weights: Tensor
    """[B, N], how many negatives a column counts as: none are the context's positives and retrieved
    candidates, and its conversation's other responses"""
    own_mask: Tensor
    """[B, N], the context's candidates but those without a target beside others that have one"""
    target_probs: Tensor
    """[B, N], all zeros in a row that no teacher scored"""
    gold: Tensor
    """[B], the column of the gold response, of the first candidate where there is none"""

    def to(self, device: torch.device) -> "StepBatch":
        """Return the same step with its tensors on `device`."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return StepBatch(contexts=self.contexts, responses=self.responses, **tensors)


def epoch_batches(
    windows: Callable[[int], Iterable[Sequence[Row]]], epoch: int, first_step: int, config: StudentConfig
) -> Iterator[StepBatch]:
    """Yield the steps of an epoch from `first_step` on; contexts that fill no step are dropped.

    Where own turns are negatives, neighbouring rows of one conversation stay together: what the one has
    already said is the other's response, and costs no more to encode. Elsewhere they are apart: what a
    conversation says elsewhere is no negative, so a step of few conversations would have few negatives.

    `windows(size)` yields the rows in a fixed order, `size` at a time. Seed, epoch and number of the window
    alone decide its shuffling, so a resumed epoch continues with the rows not yet used.
    """
    batch_size = config.global_batch_size
    window_end = 0
    for number, rows in enumerate(windows(_WINDOW_STEPS * batch_size)):
        num_steps = len(rows) // batch_size
        window_start, window_end = window_end, window_end + num_steps
        if window_end <= first_step:
            continue

        shuffler = random.Random(f"{config.seed} {epoch} {number}")
        rows = _shuffled(rows, shuffler, in_runs=config.own_turn_negatives > 0)
        pool = _positive_responses(rows) if config.random_negatives else []

        for step in range(num_steps):
            # Drawn for skipped steps, too: a resumed epoch needs the same random numbers.
            negatives = shuffler.sample(pool, min(config.random_negatives, len(pool)))
            if window_start + step >= first_step:
                step_rows = rows[step * batch_size : (step + 1) * batch_size]
                yield step_batch(step_rows, config, negatives)


def _shuffled(rows: Sequence[Row], shuffler: random.Random, in_runs: bool) -> list[Row]:
    """Return the rows in random order; `in_runs`: neighbours of one conversation as they are."""
    if not in_runs:
        return shuffler.sample(rows, len(rows))

    runs = [list(run) for _, run in groupby(rows, itemgetter("conversation_id"))]
    return [row for run in shuffler.sample(runs, len(runs)) for row in run]


def _positive_responses(rows: Sequence[Row]) -> list[str]:
    """Return the distinct gold and generated responses of the rows, in their order."""
    responses: dict[str, None] = {}
    for row in rows:
        for candidate in row["candidates"]:
            if candidate["source"] in POSITIVE_SOURCES:
                responses[candidate["text"]] = None
    return list(responses)


def step_batch(rows: Sequence[Row], config: StudentConfig, random_negatives: Sequence[str] = ()) -> StepBatch:
    """Return the step of `rows`; one with more than `max_candidates` keeps its gold, then generated ones.

    A retrieved response may be correct: it is no negative of the context it was retrieved for, and the
    teachers' scores grade it. So a row without targets does not use its retrieved candidates.
    `random_negatives` are negatives of every context that does not have them as candidates (G2R §3.1).

    The newest `own_turn_negatives` turns of a context are negatives of all: a retriever otherwise ranks
    them first (Fedorenko et al. 2017). What a context has said counts as `own_turn_weight` negatives. Own
    turns are no candidates, so they take no part in the KL divergence: language models' likelihoods prefer
    such copies, too.
    """
    candidates_of_rows = [_first_candidates(row, config.max_candidates) for row in rows]

    # Texts of one key are one column: "No" must not be a negative of "no".
    columns: dict[str, int] = {}
    responses: dict[str, str] = {}
    texts: list[str] = []
    for candidates, _ in candidates_of_rows:
        texts += [candidate["text"] for candidate in candidates]
    for row in rows:
        texts += own_turn_texts(row, config.own_turn_negatives)
    for text in (*texts, *random_negatives):
        columns.setdefault(text_key(text), len(columns))
        responses.setdefault(text_key(text), text)

    shape = (len(rows), len(columns))
    positive_mask, own_mask = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    negative_mask = torch.ones(shape, dtype=torch.bool)
    target_probs = torch.zeros(shape)
    gold: list[int] = []
    for number, (candidates, probs) in enumerate(candidates_of_rows):
        # A row that has lost all its candidates has no targets, and so no margins.
        gold.append(columns[text_key(candidates[0]["text"])] if candidates else 0)
        for candidate, prob in zip(candidates, probs, strict=True):
            column = columns[text_key(candidate["text"])]
            own_mask[number, column] |= prob is not None
            positive_mask[number, column] |= candidate["source"] in POSITIVE_SOURCES
            negative_mask[number, column] &= candidate["source"] == "random"
            target_probs[number, column] += prob or 0.0
    _exclude_own_conversation(negative_mask, rows, columns, config.own_turn_negatives)
    negative_weights = negative_mask * _own_turn_weights(rows, columns, config.own_turn_weight)

    return StepBatch(
        contexts=[context_text(row["context"], config.context_turns) for row in rows],
        responses=list(responses.values()),
        positive_mask=positive_mask,
        negative_weights=negative_weights,
        own_mask=own_mask,
        target_probs=target_probs,
        gold=torch.tensor(gold),
    )


def _own_turn_weights(rows: Sequence[Row], columns: Mapping[str, int], weight: float) -> Tensor:
    """Return [B, N], `weight` where a context has said a column's text, 1 elsewhere."""
    weights = torch.ones(len(rows), len(columns))
    for number, row in enumerate(rows):
        own_turns = [columns[key] for key in said_keys(row["context"]) if key in columns]
        weights[number, own_turns] = weight
    return weights


def own_turn_texts(row: Row, num_turns: int) -> list[str]:
    """Return the newest turns of the row's context, as many as are its negatives."""
    newest = row["context"][-num_turns:] if num_turns else []
    return [message["content"] for message in newest]


def _exclude_own_conversation(
    negative_mask: Tensor, rows: Sequence[Row], columns: Mapping[str, int], num_turns: int
) -> None:
    """Make what a row's conversation says elsewhere, later or in another turn, none of its negatives.

    `columns` maps a text's key to its column. A turn that the row's context has already said stays a
    negative.
    """
    numbers_by_conversation: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        numbers_by_conversation.setdefault(row["conversation_id"], []).append(number)

    for numbers in numbers_by_conversation.values():
        keys: set[str] = set()
        for number in numbers if len(numbers) > 1 else ():
            keys.add(text_key(rows[number]["candidates"][0]["text"]))
            keys.update(map(text_key, own_turn_texts(rows[number], num_turns)))
        for number in numbers if keys else ():
            # A retrieved response of a row that no teacher scored has no column.
            for key in keys.intersection(columns) - said_keys(rows[number]["context"]):
                negative_mask[number, columns[key]] = False


def _first_candidates(row: Row, max_candidates: int) -> tuple[list[dict[str, Any]], list[float | None]]:
    """Return up to `max_candidates`, positives first, and their target distribution, or zeros.

    The target is None of a candidate that no teacher has a score of, in a row of which others have one.
    """
    candidates, probs = row["candidates"], row["target_probs"]
    if probs is None:
        candidates = [candidate for candidate in candidates if candidate["source"] != "retrieved"]
        probs = [0.0] * len(candidates)

    pairs = sorted(
        zip(candidates, probs, strict=True),
        key=lambda pair: pair[0]["source"] not in POSITIVE_SOURCES,
    )[:max_candidates]
    first_candidates = [candidate for candidate, _ in pairs]
    total = sum(prob or 0.0 for _, prob in pairs)

    first_probs: list[float | None] = []
    for _, prob in pairs:
        first_probs.append(None if prob is None else prob / (total or 1.0))
    return first_candidates, first_probs
