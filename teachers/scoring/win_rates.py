"""Win rates of a system's responses: a judge's scores beside those of human and generated responses.

K candidates of one context, the gold response first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from teachers.scoring.ensemble import Array

ECHO = "echo"
"""In the place of a teacher: who said the context's last turn once more."""


@dataclass(frozen=True)
class JudgedResponse:
    """A system's response to one context as a judge scores it. A tie is half a win."""

    score: float
    win_rate_human: float
    """Over the gold response: 0, 0.5 or 1."""
    win_rate_generated: float
    """The mean over the teachers' responses to the context."""
    win_rate_baseline: float
    """Over the baseline's response."""


def judge_responses(
    rows: Sequence[dict[str, Any]],
    scores: Mapping[str, Array],
    responses: Mapping[str, str],
    baseline: Mapping[str, str],
) -> dict[str, JudgedResponse]:
    """Return by example_id the judged responses of one system, in the order of `rows` of CANDIDATES.

    `scores` are a judge's [K] by example_id. `responses` and `baseline` map an example_id to the response of
    the system and of the one it is compared with, each one of the row's candidates. Contexts are left out
    that have no such response or no generated one, that the judge did not score, or where a score is missing.
    """
    judged: dict[str, JudgedResponse] = {}
    for row in rows:
        example_id = row["example_id"]
        if example_id not in scores or example_id not in responses:
            continue

        texts = responses[example_id], baseline[example_id]
        response = _judge_response(row["candidates"], scores[example_id], *texts)
        if response is not None:
            judged[example_id] = response
    return judged


def reference_responses(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return responses that no system retrieved, by name and example_id, out of `rows` of CANDIDATES.

    They are the human response, a random one, an echo of the context's last turn, and each teacher's.
    """
    names = {"gold": "human response", "random": "random response"}
    references: dict[str, dict[str, str]] = {name: {} for name in (*names.values(), ECHO)}
    for row in rows:
        for candidate in row["candidates"]:
            name = candidate["teacher"] or names.get(candidate["source"])
            if name is not None:
                references.setdefault(name, {})[row["example_id"]] = candidate["text"]
    return references


def _judge_response(
    candidates: Sequence[dict[str, Any]], scores: Array, response: str, baseline: str
) -> JudgedResponse | None:
    texts = [candidate["text"] for candidate in candidates]
    is_generated = np.array([candidate["source"] == "generated" for candidate in candidates])
    score, baseline_score = scores[texts.index(response)], scores[texts.index(baseline)]
    human_score = scores[0]
    generated_scores = scores[is_generated]

    compared = [score, human_score, baseline_score, *generated_scores]
    if not len(generated_scores) or not np.isfinite(compared).all():
        return None
    return JudgedResponse(
        score=float(score),
        win_rate_human=_win(score, human_score),
        win_rate_generated=float(np.mean([_win(score, other_score) for other_score in generated_scores])),
        win_rate_baseline=_win(score, baseline_score),
    )


def _win(score: float, other_score: float) -> float:
    return 0.5 if score == other_score else float(score > other_score)
