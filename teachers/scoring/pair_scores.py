"""Teachers score candidates: what pairs are wanted, how a worker scores them, and a run's share of them."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa

from teachers.config import SimilarityTeacher, TeacherConfig
from teachers.dataset import Rows, write_rows
from teachers.engines.protocol import Group, PairScore, Teacher
from teachers.inference.missing_rows import Asked, Planned
from teachers.inference.store import Row, content_key
from teachers.inference.work_files import write_work
from teachers.inference.worker import Task
from teachers.records import MESSAGE, PAIR_SCORES, SCORES
from teachers.scoring.config import ScoreConfig

_NO_CONTEXT: list[dict[str, str]] = []
# Priors all share one context; a group of them is about as much work as a context's candidates.
_PRIORS_IN_A_GROUP = 16
_SHOWN_ERRORS = 5

_WANTED = pa.schema(
    [
        ("key", pa.string()),
        ("context", pa.list_(MESSAGE)),
        ("responses", pa.list_(pa.string())),
        ("keys", pa.list_(pa.string())),  # of the pairs
    ]
)


def plan_scores(
    candidates_uri: str, teacher: TeacherConfig, store_uri: str, work_uri: str, batch_size: int
) -> Planned:
    """Writes the work that scores the pairs which CANDIDATES ask for and the store has not; counts pairs.

    A generative teacher also scores each response after no context at all: its prior.
    """
    has_priors = not isinstance(teacher, SimilarityTeacher)
    with (
        Asked(_pair_keys(candidates_uri)) as pairs,
        Asked(_prior_keys(candidates_uri) if has_priors else ()) as priors,
    ):
        wanted = _wanted(candidates_uri, pairs.missing(store_uri), priors.missing(store_uri))
        write_work(work_uri, wanted, _WANTED, batch_size)
        both = zip(pairs.planned(store_uri), priors.planned(store_uri), strict=True)
        return Planned(*map(sum, both))


def _seen(candidates_uri: str) -> Iterator[Row]:
    """The rows of CANDIDATES that the teachers see."""
    return (row for row in Rows(candidates_uri) if row["for_teachers"])


def _pair_keys(candidates_uri: str) -> Iterator[str]:
    for row in _seen(candidates_uri):
        yield from (content_key(row["context"], candidate["text"]) for candidate in row["candidates"])


def _prior_keys(candidates_uri: str) -> Iterator[str]:
    for row in _seen(candidates_uri):
        yield from (content_key(_NO_CONTEXT, candidate["text"]) for candidate in row["candidates"])


def _wanted(
    candidates_uri: str, missing_pairs: Iterator[bool], missing_priors: Iterator[bool]
) -> Iterator[Row]:
    """Rows of work: a context's missing pairs together, and groups of missing priors between them."""
    priors: list[str] = []
    for row in _seen(candidates_uri):
        texts = [candidate["text"] for candidate in row["candidates"]]
        # Similarities have no priors.
        wanted = [text for text in texts if next(missing_pairs)]
        priors += [text for text in texts if next(missing_priors, False)]
        if wanted:
            yield _work(row["context"], wanted)
        while len(priors) >= _PRIORS_IN_A_GROUP:
            yield _work(_NO_CONTEXT, priors[:_PRIORS_IN_A_GROUP])
            priors = priors[_PRIORS_IN_A_GROUP:]
    if priors:
        yield _work(_NO_CONTEXT, priors)


def _work(context: list[dict[str, str]], texts: list[str]) -> Row:
    keys = [content_key(context, text) for text in texts]
    return {"key": content_key(context, keys), "context": context, "responses": texts, "keys": keys}


def scoring(config: ScoreConfig) -> Task:
    """The work of scoring pairs."""
    return Task("scores", "pairs", _WANTED, PAIR_SCORES, partial(_score, config=config), _set_aside)


def _score(teacher: Teacher, rows: list[Row], config: ScoreConfig) -> list[Row]:
    groups = [Group(row["context"], row["responses"]) for row in rows]
    keys = [key for row in rows for key in row["keys"]]
    scores = [score for found in teacher.score(groups) for score in found]
    made = {key: _row(key, score) for key, score in zip(keys, scores, strict=True)}
    # A second time alone, in another order and batch: how much a score depends on its company.
    again = [
        (key, Group(row["context"], [text]))
        for row in reversed(rows)
        for key, text in zip(row["keys"], row["responses"], strict=True)
        if int(key[:8], 16) < config.repeated_share * 2**32 and made[key]["log_likelihood"] is not None
    ]
    for (key, _), [score] in zip(again, teacher.score([group for _, group in again]), strict=True):
        made[key]["repeated"] = score.log_likelihood
    return list(made.values())


def _set_aside(row: Row, error: str) -> list[Row]:
    return [_row(key, PairScore(error=error)) for key in row["keys"]]


def _row(key: str, score: PairScore) -> Row:
    return {
        "key": key,
        "log_likelihood": score.log_likelihood,
        "tokens": score.tokens,
        "similarity": score.similarity,
        "repeated": None,
        "error": score.error,
    }


def write_scores(candidates_uri: str, pairs_uri: str, output_uri: str) -> dict[str, Any]:
    """Writes SCORES: the stored pairs of a run's candidates, aligned with them. Returns counts and noise.

    `noise_nats_per_token` is the largest difference between two scorings of the pairs that were scored twice.
    """
    tally = _Tally()
    with Asked(_pair_keys(candidates_uri)) as pairs, Asked(_prior_keys(candidates_uri)) as priors:
        found = zip(pairs.rows(pairs_uri), priors.rows(pairs_uri), strict=True)
        rows = (_aligned(row, found, tally) for row in _seen(candidates_uri))
        num_contexts = write_rows(output_uri, rows, SCORES)
    return {"contexts": num_contexts, **tally.counts()}


def _aligned(row: Row, found: Iterator[tuple[Row | None, Row | None]], tally: "_Tally") -> Row:
    """The row of SCORES of a row of CANDIDATES, for whose candidates pairs and priors come next."""
    texts = [candidate["text"] for candidate in row["candidates"]]
    both = list(islice(found, len(texts)))
    pairs = [pair for pair, _ in both if pair is not None]
    assert len(pairs) == len(texts), "a pair is not in the store"
    tally.add(pairs)
    return {
        "example_id": row["example_id"],
        "log_likelihood": [pair["log_likelihood"] for pair in pairs],
        "prior": [prior and prior["log_likelihood"] for _, prior in both],
        "tokens": [pair["tokens"] for pair in pairs],
        "bytes": [len(text.encode()) for text in texts],
        "similarity": [pair["similarity"] for pair in pairs],
    }


class _Tally:
    """Counts pairs while they pass."""

    def __init__(self) -> None:
        self._pairs = self._set_aside = self._repeated = 0
        self._errors: set[str] = set()
        self._noise = 0.0

    def add(self, pairs: list[Row]) -> None:
        self._pairs += len(pairs)
        for pair in pairs:
            if pair["error"] is not None:
                self._set_aside += 1
                if len(self._errors) < _SHOWN_ERRORS:
                    self._errors.add(pair["error"])
            if pair["repeated"] is not None:
                self._repeated += 1
                apart = abs(pair["repeated"] - pair["log_likelihood"]) / pair["tokens"]
                self._noise = max(self._noise, apart)

    def counts(self) -> dict[str, Any]:
        twice = {"pairs scored twice": self._repeated, "noise_nats_per_token": self._noise}
        return {
            "pairs": self._pairs,
            "pairs set aside": self._set_aside,
            "errors": sorted(self._errors),
            **(twice if self._repeated else {}),
        }
