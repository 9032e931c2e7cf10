"""Teachers' scores of a run's candidates: SCORES aligned with CANDIDATES, and normalised.

T teachers, in the order of `scores_uris`; K candidates of one context, O of its own turns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teachers.dataset import AlignedReader, Rows
from teachers.scoring.config import Normalisation
from teachers.scoring.ensemble import Array, has_score, normalise
from teachers.texts import is_near_copy


@dataclass(frozen=True)
class ScoredRow:
    """A row of CANDIDATES and its normalised scores; a missing score is NaN."""

    row: dict[str, Any]
    """Without the candidates of the source `context`: nothing but a calibration looks at those."""
    scores: Array | None
    """[T, K]; None where no teacher scored a candidate"""
    own_turn_scores: Array
    """[T, O], of the candidates of the source `context`"""
    num_copies: int
    """Candidates whose scores were left out, for they nearly copy a turn of the context."""


def scored_rows(
    candidates_uri: str, scores_uris: Mapping[str, str], normalisation: Normalisation
) -> Iterator[ScoredRow]:
    """Yield each row of CANDIDATES with its scores.

    A score is missing that a teacher did not give or that is not finite. So are all scores of a training
    candidate that nearly copies a turn of its context: teachers prefer copies to answers, by likelihood and
    by similarity alike. Held-out candidates keep theirs, so that measures of teachers stay comparable.

    Raises:
        ValueError: SCORES are not of these candidates, or in another order.
    """
    tables = [AlignedReader(uri) for uri in scores_uris.values()]
    for row in Rows(candidates_uri):
        scores = np.full((len(tables), len(row["candidates"])), np.nan)
        for teacher, table in enumerate(tables):
            teacher_scores = table.row_for(row["example_id"])
            if teacher_scores is not None:
                scores[teacher] = _normalised(teacher_scores, normalisation)
        yield _scored_row(row, np.where(np.isfinite(scores), scores, np.nan))

    for table in tables:
        table.check_end()


def _scored_row(row: dict[str, Any], scores: Array) -> ScoredRow:
    candidates = row["candidates"]
    is_own_turn = np.array([candidate["source"] == "context" for candidate in candidates], dtype=bool)
    ranked = [candidate for candidate in candidates if candidate["source"] != "context"]
    own_turn_scores, ranked_scores = scores[:, is_own_turn], scores[:, ~is_own_turn]

    num_copies = 0
    if row["split"] == "train" and has_score(ranked_scores).any():
        is_copy = _near_copies(ranked, row["context"])
        ranked_scores[:, is_copy] = np.nan
        num_copies = int(is_copy.sum())

    is_scored = has_score(ranked_scores).any()
    return ScoredRow(
        row={**row, "candidates": ranked},
        scores=ranked_scores if is_scored else None,
        own_turn_scores=own_turn_scores,
        num_copies=num_copies,
    )


def _near_copies(
    candidates: Sequence[Mapping[str, Any]], context: Sequence[Mapping[str, str]]
) -> NDArray[np.bool_]:
    """Return a mask [K] of the candidates that nearly copy a turn of the context."""
    turns = [message["content"] for message in context]
    return np.array([is_near_copy(candidate["text"], turns) for candidate in candidates], dtype=bool)


def _normalised(row: dict[str, Any], normalisation: Normalisation) -> Array:
    """Return one teacher's scores of all candidates from a row of SCORES."""
    if all(value is None for value in row["log_likelihood"]):
        return np.array(row["similarity"], dtype=np.float64)
    columns = ("log_likelihood", "prior", "tokens", "bytes")
    raw = [np.array(row[column], dtype=np.float64) for column in columns]
    return normalise(normalisation, *raw)


def read_scores(
    candidates_uri: str, scores_uris: Mapping[str, str], normalisation: Normalisation, split: str
) -> Iterator[tuple[str, Array]]:
    """Yield (example_id, normalised scores [T, K]) of the rows of `split` that a teacher scored."""
    for scored in scored_rows(candidates_uri, scores_uris, normalisation):
        if scored.scores is not None and scored.row["split"] == split:
            yield scored.row["example_id"], scored.scores


def read_ranked_scores(
    candidates_uri: str, scores_uris: Mapping[str, str], normalisation: Normalisation, split: str
) -> Iterator[Array]:
    """Yield scores [T, K] of the contexts of `split` whose gold response, candidate 0, has one.

    Candidates that no teacher scored are left out.
    """
    for _, scores in read_scores(candidates_uri, scores_uris, normalisation, split):
        is_scored = has_score(scores)
        if is_scored[0]:
            yield scores[:, is_scored]


def read_scores_with_own_turns(
    candidates_uri: str, scores_uris: Mapping[str, str], normalisation: Normalisation, split: str
) -> Iterator[tuple[Array, int]]:
    """Yield scores [T, K + O] of the scored contexts of `split` that have own turns, those last, and K."""
    for scored in scored_rows(candidates_uri, scores_uris, normalisation):
        has_own_turns = scored.own_turn_scores.shape[1] > 0
        if scored.scores is not None and scored.row["split"] == split and has_own_turns:
            yield np.hstack([scored.scores, scored.own_turn_scores]), scored.scores.shape[1]
