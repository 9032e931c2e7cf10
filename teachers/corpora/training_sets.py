"""Training sets of questions that have a gold response and the document it is from (CoDi)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from teachers.corpora.examples import position_of
from teachers.dataset import Rows, write_rows
from teachers.records import DOCUMENTS, EXAMPLES, TARGETS

Row = dict[str, Any]


class TrainingSetPart(NamedTuple):
    """Training questions that are drawn from one dataset of QUESTIONS."""

    questions_uri: str
    size: int
    """Number of questions at most; a seed decides which are drawn."""


def num_examples(questions_uri: str, split: str = "train") -> int:
    """Return the number of the split's questions that have a gold response and a document."""
    return sum(1 for _ in _examples(questions_uri, split))


def write_training_set(
    parts: Sequence[TrainingSetPart], documents_uri: str, targets_uri: str, seed: int
) -> Counter[str]:
    """Write TARGETS whose candidates are the gold response and the first relevant document, both gold.

    Returns:
        Questions of each part, by the name of its dataset.
    """
    counts: Counter[str] = Counter()

    def rows(texts: dict[str, str]) -> Iterator[Row]:
        for part in parts:
            name = part.questions_uri.rsplit("/", 1)[-1]
            for row in _drawn(part, seed):
                counts[name] += 1
                yield _target(row, texts)

    drawn = (row for part in parts for row in _drawn(part, seed))
    write_rows(targets_uri, rows(_document_texts(drawn, documents_uri)), TARGETS)
    return counts


def write_validation_set(questions_uri: str, documents_uri: str, examples_uri: str) -> int:
    """Write EXAMPLES of the validation questions: one with the response, one with the document.

    Returns:
        Number of examples.
    """
    texts = _document_texts(_examples(questions_uri, "validation"), documents_uri)

    def rows() -> Iterator[Row]:
        for row in _examples(questions_uri, "validation"):
            gold = {"reply": row["gold_response"], "document": texts[row["positives"][0]]}
            for kind, text in gold.items():
                yield {
                    "example_id": f"{row['question_id']}-{kind}",
                    "conversation_id": row["conversation_id"],
                    "split": "validation",
                    "context": row["context"],
                    "gold_response": text,
                }

    return write_rows(examples_uri, rows(), EXAMPLES)


def write_gold_responses(questions_uri: str, documents_uri: str) -> int:
    """Write the distinct gold responses of QUESTIONS as DOCUMENTS, each with its first question's id.

    Returns:
        Number of responses.
    """
    seen: set[str] = set()

    def rows() -> Iterator[Row]:
        for row in Rows(questions_uri):
            if row["gold_response"] and row["gold_response"] not in seen:
                seen.add(row["gold_response"])
                yield {"doc_id": row["question_id"], "text": row["gold_response"]}

    return write_rows(documents_uri, rows(), DOCUMENTS)


class ExamplesWithDocuments:
    """Rows of EXAMPLES for a generator, whose context's last turn begins with the question's document.

    The training questions of `parts` come first, then the questions of `split` in `questions_uri`.
    """

    def __init__(
        self,
        parts: Sequence[TrainingSetPart],
        questions_uri: str,
        documents_uri: str,
        seed: int,
        split: str = "validation",
    ) -> None:
        self._parts, self._questions, self._documents = parts, questions_uri, documents_uri
        self._seed, self._split = seed, split

    def __iter__(self) -> Iterator[Row]:
        texts = _document_texts(self._rows(), self._documents)
        for row in self._rows():
            *earlier, question = row["context"]
            prompt = f"Text: {texts[row['positives'][0]]}\n\n{question['content']}"
            yield {
                "example_id": row["question_id"],
                "conversation_id": row["conversation_id"],
                "split": row["split"],
                "context": [*earlier, {"role": "user", "content": prompt}],
                "gold_response": row["gold_response"],
            }

    def _rows(self) -> Iterator[Row]:
        for part in self._parts:
            yield from _drawn(part, self._seed)
        yield from _examples(self._questions, self._split)


def _examples(questions_uri: str, split: str) -> Iterator[Row]:
    for row in Rows(questions_uri, split):
        if row["gold_response"] and row["positives"]:
            yield row


def _drawn(part: TrainingSetPart, seed: int) -> Iterator[Row]:
    """Yield the questions whose hash is among the `size` smallest: a larger draw contains a smaller one."""

    def position(row: Row) -> float:
        return position_of(f"{seed}:grounded:{row['question_id']}")

    positions = np.sort([position(row) for row in _examples(part.questions_uri, "train")])
    if not part.size or not len(positions):
        return

    last = positions[min(part.size, len(positions)) - 1]
    for row in _examples(part.questions_uri, "train"):
        if position(row) <= last:
            yield row


def _document_texts(rows: Iterable[Row], documents_uri: str) -> dict[str, str]:
    """Return doc_id -> text of the first relevant document of each row."""
    doc_ids = {row["positives"][0] for row in rows}
    return {row["doc_id"]: row["text"] for row in Rows(documents_uri) if row["doc_id"] in doc_ids}


def _target(row: Row, texts: dict[str, str]) -> Row:
    """Return a row of TARGETS that no teacher scored."""
    gold = (row["gold_response"], texts[row["positives"][0]])
    return {
        "example_id": row["question_id"],
        "conversation_id": row["conversation_id"],
        "split": "train",
        "context": row["context"],
        "candidates": [{"text": text, "source": "gold", "teacher": None} for text in gold],
        "target_probs": None,
    }
