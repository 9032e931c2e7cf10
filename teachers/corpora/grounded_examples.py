"""Grounded conversations as training data: a question, its reply and the document it is from (CoDi)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from teachers.corpora.examples import position_of
from teachers.dataset import Rows, write_rows
from teachers.records import DOCUMENTS, EXAMPLES, TARGETS

Row = dict[str, Any]


class Part(NamedTuple):
    """Training questions that are taken from one dataset of QUESTIONS."""

    questions_uri: str
    size: int
    """So many at most; which ones is drawn by a seed."""


def num_grounded(questions_uri: str, split: str = "train") -> int:
    """Questions of the split with a reply and a document."""
    return sum(1 for _ in _grounded(questions_uri, split))


def write_grounded_targets(
    parts: Sequence[Part], documents_uri: str, output_uri: str, seed: int
) -> Counter[str]:
    """Writes TARGETS of questions whose candidates are the reply and the first relevant document, both gold.

    Returns how many each part gave.
    """
    counts: Counter[str] = Counter()

    def rows() -> Iterator[Row]:
        for part in parts:
            name = part.questions_uri.rsplit("/", 1)[-1]
            for row in _drawn(part, seed):
                counts[name] += 1
                yield row

    texts = _texts(parts, documents_uri, seed)
    write_rows(output_uri, (_target(row, texts) for row in rows()), TARGETS)
    return counts


def write_grounded_examples(questions_uri: str, documents_uri: str, examples_uri: str) -> int:
    """Writes EXAMPLES of the validation questions, one with the reply and one with the document; how many."""
    wanted = {row["positives"][0] for row in _grounded(questions_uri, "validation")}
    texts = {row["doc_id"]: row["text"] for row in Rows(documents_uri) if row["doc_id"] in wanted}
    rows = (
        {
            "example_id": f"{row['question_id']}-{kind}",
            "conversation_id": row["conversation_id"],
            "split": "validation",
            "context": row["context"],
            "gold_response": reply,
        }
        for row in _grounded(questions_uri, "validation")
        for kind, reply in (("reply", row["gold_response"]), ("document", texts[row["positives"][0]]))
    )
    return write_rows(examples_uri, rows, EXAMPLES)


def write_replies(questions_uri: str, output_uri: str) -> int:
    """Writes the distinct replies of all QUESTIONS as DOCUMENTS, each with the id of its first question."""
    seen: set[str] = set()

    def rows() -> Iterator[Row]:
        for row in Rows(questions_uri):
            if row["gold_response"] and row["gold_response"] not in seen:
                seen.add(row["gold_response"])
                yield {"doc_id": row["question_id"], "text": row["gold_response"]}

    return write_rows(output_uri, rows(), DOCUMENTS)


def _grounded(questions_uri: str, split: str) -> Iterator[Row]:
    return (row for row in Rows(questions_uri, split) if row["gold_response"] and row["positives"])


def _drawn(part: Part, seed: int) -> Iterator[Row]:
    """The questions whose hash is among the `size` smallest: the same ones are in a larger draw."""

    def place(row: Row) -> float:
        return position_of(f"{seed}:grounded:{row['question_id']}")

    places = np.sort([place(row) for row in _grounded(part.questions_uri, "train")])
    if part.size and len(places):
        last = places[min(part.size, len(places)) - 1]
        yield from (row for row in _grounded(part.questions_uri, "train") if place(row) <= last)


def _texts(parts: Sequence[Part], documents_uri: str, seed: int) -> dict[str, str]:
    """doc_id -> text of the documents that are candidates."""
    wanted = {row["positives"][0] for part in parts for row in _drawn(part, seed)}
    return {row["doc_id"]: row["text"] for row in Rows(documents_uri) if row["doc_id"] in wanted}


def _target(row: Row, texts: dict[str, str]) -> Row:
    """A row of TARGETS that no teacher scored."""
    return {
        "example_id": row["question_id"],
        "split": "train",
        "context": row["context"],
        "candidates": [
            {"text": text, "source": "gold", "teacher": None}
            for text in (row["gold_response"], texts[row["positives"][0]])
        ],
        "target_probs": None,
    }


class ReadReplies:
    """Rows of EXAMPLES of questions whose document is shown with them, for a model that writes replies: those
    of `parts` to learn, then people's of another split.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        questions_uri: str,
        documents_uri: str,
        seed: int,
        split: str = "validation",
    ) -> None:
        self._parts, self._questions, self._documents = parts, questions_uri, documents_uri
        self._seed, self._split = seed, split

    def __iter__(self) -> Iterator[Row]:
        wanted = {row["positives"][0] for row in self._rows()}
        texts = {row["doc_id"]: row["text"] for row in Rows(self._documents) if row["doc_id"] in wanted}
        for row in self._rows():
            asked = f"Text: {texts[row['positives'][0]]}\n\n{row['context'][-1]['content']}"
            yield {
                "example_id": row["question_id"],
                "conversation_id": row["conversation_id"],
                "split": row["split"],
                "context": [*row["context"][:-1], {"role": "user", "content": asked}],
                "gold_response": row["gold_response"],
            }

    def _rows(self) -> Iterator[Row]:
        for part in self._parts:
            yield from _drawn(part, self._seed)
        yield from _grounded(self._questions, self._split)
