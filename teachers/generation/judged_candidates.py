"""Candidates to judge: systems' answers, and what they are compared with."""

import random
from collections.abc import Iterable, Mapping, Sequence

from teachers.engines.protocol import Generation
from teachers.inference.store import Row
from teachers.scoring.win_rates import ECHO
from teachers.texts import said_keys, text_key


def judged_candidates(
    contexts: Sequence[Row],
    samples: Mapping[str, Iterable[tuple[str, list[Generation]]]],
    answers: Mapping[str, Mapping[str, str]],
    seed: int,
) -> list[Row]:
    """Return rows of CANDIDATES for rows of EXAMPLES, each text once, the gold response first.

    `samples` are each teacher's, one for a context, truncated or not; `answers` those of systems by
    example_id. A random response, of another conversation, and the context's last turn, an echo, show
    how far a judge can be trusted.
    """
    written: dict[str, dict[str, str]] = {row["example_id"]: {} for row in contexts}
    for teacher, samples_of_teacher in samples.items():
        for example_id, [sample] in samples_of_teacher:
            text = " ".join(sample.text.split())
            if text:
                written[example_id][teacher] = text

    generator = random.Random(seed)
    rows = []
    for row in contexts:
        example_id = row["example_id"]
        drawn = _random_response(row, contexts, generator)
        rows.append(_judged_row(row, drawn, written[example_id], answers[example_id]))
    return rows


def _random_response(example: Row, contexts: Sequence[Row], generator: random.Random) -> str | None:
    """Return a gold response of another conversation that this one has not said; None where there is none."""
    keys = said_keys(example["context"]) | {text_key(example["gold_response"])}
    for row in generator.sample(contexts, len(contexts)):
        is_other = row["conversation_id"] != example["conversation_id"]
        if is_other and text_key(row["gold_response"]) not in keys:
            response: str = row["gold_response"]
            return response
    return None


def _judged_row(
    example: Row, random_response: str | None, written: Mapping[str, str], answers: Mapping[str, str]
) -> Row:
    """Return the row of CANDIDATES; a text of several sources has the first of them."""
    texts: list[tuple[str, str, str | None]] = [(example["gold_response"], "gold", None)]
    if random_response is not None:
        texts.append((random_response, "random", None))
    # A source of its own would hide its scores: own turns take no part where teachers are compared.
    texts.append((example["context"][-1]["content"], "retrieved", ECHO))
    texts += [(text, "generated", teacher) for teacher, text in written.items()]
    texts += [(text, "retrieved", None) for text in answers.values()]

    candidates: dict[str, dict[str, str | None]] = {}
    for text, source, teacher in texts:
        candidates.setdefault(text, {"text": text, "source": source, "teacher": teacher})

    return {
        "example_id": example["example_id"],
        "conversation_id": example["conversation_id"],
        "split": "test",
        "context": example["context"],
        "candidates": list(candidates.values()),
        "for_teachers": True,
    }
