"""Candidates for teachers to judge: the gold response, those that teachers wrote, and systems' answers."""

from collections.abc import Iterable, Mapping, Sequence

from teachers.engines.protocol import Generation
from teachers.inference.store import Row


def judged_candidates(
    contexts: Sequence[Row],
    samples: Mapping[str, Iterable[tuple[str, list[Generation]]]],
    answers: Mapping[str, Mapping[str, str]],
) -> list[Row]:
    """Return rows of CANDIDATES for rows of EXAMPLES, each text once, the gold response first.

    `samples` are each teacher's, one for a context, truncated or not; `answers` those of systems by
    example_id.
    """
    written: dict[str, dict[str, str]] = {row["example_id"]: {} for row in contexts}
    for teacher, samples_of_teacher in samples.items():
        for example_id, [sample] in samples_of_teacher:
            text = " ".join(sample.text.split())
            if text:
                written[example_id][teacher] = text

    rows = []
    for row in contexts:
        example_id = row["example_id"]
        rows.append(_judged_row(row, written[example_id], answers[example_id]))
    return rows


def _judged_row(example: Row, written: Mapping[str, str], answers: Mapping[str, str]) -> Row:
    """Return the row of CANDIDATES with the gold response, the teachers' and the systems', each text once."""
    gold = example["gold_response"]
    candidates = {gold: {"text": gold, "source": "gold", "teacher": None}}
    for teacher, text in written.items():
        candidates.setdefault(text, {"text": text, "source": "generated", "teacher": teacher})
    for text in answers.values():
        candidates.setdefault(text, {"text": text, "source": "retrieved", "teacher": None})

    return {
        "example_id": example["example_id"],
        "conversation_id": example["conversation_id"],
        "split": "test",
        "context": example["context"],
        "candidates": list(candidates.values()),
        "for_teachers": True,
    }
