"""Held-out contexts, and the responses that are ranked for them. C contexts, N responses."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from student.evaluation.ranking import NUM_CANDIDATES, sample_candidates
from student.evaluation.word_model import WordModel
from student.text import context_text
from teachers.dataset import read_rows
from teachers.texts import said_keys, text_key


@dataclass(frozen=True)
class ContextSample:
    """The contexts of a split that are measured, and how much of each is read."""

    context_turns: int
    """Newest turns of a context that systems read."""
    num_contexts: int
    """At most so many, the first ones."""
    seed: int
    """Of the draw of candidates for hits@1/20."""


@dataclass(frozen=True)
class HeldOut:
    """Contexts that systems are measured on, and the responses that are ranked."""

    example_ids: list[str]
    """[C]"""
    conversation_ids: list[str]
    """[C]"""
    contexts: list[str]
    """[C], as the student's text"""
    last_turns: list[str]
    """[C], the contexts' newest turns"""
    responses: list[str]
    """[N], distinct; those of the response set first, turns of contexts that are no response last"""
    num_servable: int
    """How many of `responses` are in the response set: systems answer with these."""
    num_ranked: int
    """How many of `responses` are in the response set or gold: ranks are among these."""
    gold: list[int]
    """[C], columns of the gold responses"""
    excluded: list[set[int]]
    """[C], columns of what the conversation has already said, and of its other gold responses"""
    own_turns: list[list[int]]
    """[C], columns of the context's turns"""
    sampled: list[list[int]]
    """[C, 20], columns of the candidates of hits@1/20, the gold response first"""

    def servable(self) -> list[str]:
        """Return the responses of the response set."""
        return self.responses[: self.num_servable]

    def cross_entropies(self, words: WordModel) -> NDArray[np.float64]:
        """Return the shrunk cross-entropies [C] of the last turns."""
        return np.array(list(map(words.shrunk_cross_entropy, self.last_turns)))


def held_out(examples_uri: str, response_set: Sequence[str], split: str, sample: ContextSample) -> HeldOut:
    """Return the sampled contexts of `split`, ranked in `response_set` and all gold responses of the split.

    hits@1/20 ranks the gold response among itself and 19 gold responses of other examples of the split.

    Raises:
        ValueError: fewer than 20 distinct responses.
    """
    rows = read_rows(examples_uri, split)
    chosen = rows[: sample.num_contexts]
    gold_responses = _gold_responses(rows, split)

    servable = list(dict.fromkeys(response_set))
    columns: dict[str, int] = {}
    for text in (*servable, *gold_responses):
        columns.setdefault(text, len(columns))
    num_ranked = len(columns)
    gold = [columns[row["gold_response"]] for row in chosen]
    gold_columns = [columns[text] for text in gold_responses]
    excluded = excluded_columns(chosen, gold, columns, rows)

    return HeldOut(
        example_ids=list(map(itemgetter("example_id"), chosen)),
        conversation_ids=list(map(itemgetter("conversation_id"), chosen)),
        contexts=[context_text(row["context"], sample.context_turns) for row in chosen],
        last_turns=[row["context"][-1]["content"] for row in chosen],
        own_turns=[_turn_columns(row["context"], columns) for row in chosen],
        responses=list(columns),
        num_servable=len(servable),
        num_ranked=num_ranked,
        gold=gold,
        excluded=excluded,
        sampled=sample_candidates(gold, gold_columns, excluded, sample.seed),
    )


def check_responses(examples_uri: str, split: str) -> None:
    """Raise ValueError where the split has too few responses to rank."""
    _gold_responses(read_rows(examples_uri, split), split)


def _gold_responses(rows: Sequence[Mapping[str, Any]], split: str) -> list[str]:
    """Return the distinct gold responses.

    Raises:
        ValueError: they are fewer than 20.
    """
    responses = list(dict.fromkeys(map(itemgetter("gold_response"), rows)))
    if len(responses) < NUM_CANDIDATES:
        key = "held_out_senders" if split == "test_by_sender" else f"{split}_share"
        raise ValueError(
            f"examples: expected at least {NUM_CANDIDATES} distinct {split} responses, got {len(responses)}; "
            f"add conversations or raise examples.{key}"
        )
    return responses


def excluded_columns(
    rows: Sequence[Mapping[str, Any]],
    gold: Sequence[int],
    columns: Mapping[str, int],
    split: Sequence[Mapping[str, Any]],
) -> list[set[int]]:
    """Return the columns [C] that are no candidates of `rows` of EXAMPLES, whose gold ones are `gold`.

    A response that the conversation has already said is none, and neither is another gold response of the
    same conversation in the `split`: it may fit as well. `columns` maps a response to its column.
    """
    columns_by_key: dict[str, set[int]] = {}
    for text, column in columns.items():
        columns_by_key.setdefault(text_key(text), set()).add(column)
    of_conversation: dict[str, set[int]] = {}
    for row in split:
        of_conversation.setdefault(row["conversation_id"], set()).add(columns[row["gold_response"]])

    excluded = []
    for row, gold_column in zip(rows, gold, strict=True):
        row_columns = set(of_conversation[row["conversation_id"]])
        for key in said_keys(row["context"]):
            row_columns |= columns_by_key.get(key, set())
        excluded.append(row_columns - {gold_column})
    return excluded


def _turn_columns(context: Sequence[Mapping[str, str]], columns: dict[str, int]) -> list[int]:
    """Return the columns of the context's turns; a text that has none yet gets the next one."""
    return [columns.setdefault(message["content"], len(columns)) for message in context]


def response_selection(rows: Iterable[tuple[str, Any]], context_turns: int) -> HeldOut:
    """Return contexts with 20 candidates each, from named rows of `id`, `messages`, `candidates` and `label`.

    There is no response set: ranks are among the row's candidates.

    Raises:
        ValueError: a row is not of this form; the message begins with its name.
    """
    checked = [_selection_row(name, row) for name, row in rows]
    columns: dict[str, int] = {}
    for row in checked:
        for text in row["candidates"]:
            columns.setdefault(text, len(columns))

    num_ranked = len(columns)
    own_turns = [_turn_columns(row["messages"], columns) for row in checked]
    selection = HeldOut([], [], [], [], list(columns), 0, num_ranked, [], [], own_turns, [])
    for row in checked:
        candidates = list(row["candidates"])
        gold_response = candidates.pop(row["label"])

        selection.example_ids.append(row["id"])
        selection.conversation_ids.append(row["id"].rsplit("-", 1)[0])
        selection.contexts.append(context_text(row["messages"], context_turns))
        selection.last_turns.append(row["messages"][-1]["content"])
        selection.gold.append(columns[gold_response])
        selection.excluded.append(set())
        selection.sampled.append([columns[text] for text in (gold_response, *candidates)])
    return selection


def _selection_row(name: str, row: Any) -> dict[str, Any]:
    """Return a row of a selection.

    Raises:
        ValueError: it is of another form.
    """
    try:
        fits = len(row["candidates"]) == NUM_CANDIDATES and row["messages"] and row["id"]
        fits = fits and 0 <= row["label"] < NUM_CANDIDATES
    except (KeyError, TypeError):  # of an Exception in a row's place, too
        fits = False
    if not fits:
        raise ValueError(
            f"{name}: expected an object with `id`, `messages`, {NUM_CANDIDATES} `candidates` and `label`, "
            "the gold one's place among them"
        )
    selected: dict[str, Any] = row
    return selected
