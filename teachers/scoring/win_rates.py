"""Win rates of a system's responses: a judge's scores beside those of human and generated responses.

K candidates of one context, the gold response first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from teachers.scoring.ensemble import Array


@dataclass(frozen=True)
class JudgedResponse:
    """A system's response to one context as a judge scores it. A tie is half a win."""

    mutual_information: float
    win_rate_human: float
    """Over the gold response: 0, 0.5 or 1."""
    win_rate_generated: float
    """The mean over the teachers' responses to the context."""


def judge_responses(
    rows: Sequence[dict[str, Any]], scores: Mapping[str, Array], responses: Mapping[str, str]
) -> dict[str, JudgedResponse]:
    """Return by example_id the judged responses of one system, in the order of `rows` of CANDIDATES.

    `scores` are a judge's [K] by example_id. `responses` maps an example_id to the system's response, one of
    the row's candidates. Contexts are left out that the judge did not score, that have no generated
    response, or where a score is missing.
    """
    judged: dict[str, JudgedResponse] = {}
    for row in rows:
        example_id = row["example_id"]
        if example_id not in scores:
            continue

        response = _judge_response(row["candidates"], scores[example_id], responses[example_id])
        if response is not None:
            judged[example_id] = response
    return judged


def _judge_response(
    candidates: Sequence[dict[str, Any]], scores: Array, response: str
) -> JudgedResponse | None:
    texts = [candidate["text"] for candidate in candidates]
    is_generated = np.array([candidate["source"] == "generated" for candidate in candidates])
    score = scores[texts.index(response)]
    human_score = scores[0]
    generated_scores = scores[is_generated]

    if not len(generated_scores) or not np.isfinite([score, human_score, *generated_scores]).all():
        return None
    return JudgedResponse(
        mutual_information=float(score),
        win_rate_human=_win(score, human_score),
        win_rate_generated=float(np.mean([_win(score, other_score) for other_score in generated_scores])),
    )


def _win(score: float, other_score: float) -> float:
    return 0.5 if score == other_score else float(score > other_score)
