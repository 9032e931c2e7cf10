"""Teachers score candidates: the requested pairs, the worker's task that scores them, and a run's SCORES."""

from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

import pyarrow as pa

from teachers.config import SimilarityTeacher, TeacherConfig
from teachers.dataset import Rows, write_rows
from teachers.engines.protocol import Group, PairScore, Teacher
from teachers.inference.missing_rows import Planned, RequestedKeys
from teachers.inference.store import Row, content_key
from teachers.inference.tasks import Task
from teachers.inference.work_files import write_work
from teachers.records import MESSAGE, PAIR_SCORES, SCORES
from teachers.scoring.config import ScoreConfig

_NO_CONTEXT: list[dict[str, str]] = []
# Priors all share one context; a group of them is about as much work as a context's candidates.
_PRIORS_IN_A_GROUP = 16
_SHOWN_ERRORS = 5

_WORK = pa.schema(
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
    """Write the work that scores the pairs of CANDIDATES that the store lacks; return counts of pairs.

    A generative teacher also scores each response without any context: its prior.
    """
    has_priors = not isinstance(teacher, SimilarityTeacher)
    with (
        RequestedKeys(_pair_keys(candidates_uri)) as pairs,
        RequestedKeys(_prior_keys(candidates_uri) if has_priors else ()) as priors,
    ):
        rows = _work_rows(candidates_uri, pairs.missing(store_uri), priors.missing(store_uri))
        write_work(work_uri, rows, _WORK, batch_size)
        both = zip(pairs.planned(store_uri), priors.planned(store_uri), strict=True)
        return Planned(*map(sum, both))


def _seen(candidates_uri: str) -> Iterator[Row]:
    """Yield the rows of CANDIDATES that the teachers see."""
    for row in Rows(candidates_uri):
        if row["for_teachers"]:
            yield row


def _pair_keys(candidates_uri: str) -> Iterator[str]:
    for row in _seen(candidates_uri):
        for candidate in row["candidates"]:
            yield content_key(row["context"], candidate["text"])


def _prior_keys(candidates_uri: str) -> Iterator[str]:
    for row in _seen(candidates_uri):
        for candidate in row["candidates"]:
            yield content_key(_NO_CONTEXT, candidate["text"])


def _work_rows(
    candidates_uri: str, missing_pairs: Iterator[bool], missing_priors: Iterator[bool]
) -> Iterator[Row]:
    """Yield rows of work: a context's missing pairs together, and groups of missing priors between them."""
    priors: list[str] = []
    for row in _seen(candidates_uri):
        missing_texts: list[str] = []
        for candidate in row["candidates"]:
            text = candidate["text"]
            if next(missing_pairs):
                missing_texts.append(text)
            # Similarities have no priors.
            if next(missing_priors, False):
                priors.append(text)

        if missing_texts:
            yield _work(row["context"], missing_texts)
        while len(priors) >= _PRIORS_IN_A_GROUP:
            yield _work(_NO_CONTEXT, priors[:_PRIORS_IN_A_GROUP])
            priors = priors[_PRIORS_IN_A_GROUP:]

    if priors:
        yield _work(_NO_CONTEXT, priors)


def _work(context: list[dict[str, str]], texts: list[str]) -> Row:
    keys = [content_key(context, text) for text in texts]
    return {"key": content_key(context, keys), "context": context, "responses": texts, "keys": keys}


def scoring(config: ScoreConfig) -> Task:
    """Return the task of scoring pairs."""
    run = partial(_score, config=config)
    return Task("scores", "pairs", _WORK, PAIR_SCORES, run, _rejected_rows, scores=True)


def _score(teacher: Teacher, rows: list[Row], config: ScoreConfig) -> list[Row]:
    groups: list[Group] = []
    keys: list[str] = []
    for row in rows:
        groups.append(Group(row["context"], row["responses"]))
        keys += row["keys"]
    scores = chain.from_iterable(teacher.score(groups))

    pair_scores: dict[str, Row] = {}
    for key, score in zip(keys, scores, strict=True):
        pair_scores[key] = _row(key, score)

    # A second time alone, in another order and batch: how much a score depends on its company.
    repeated_keys: list[str] = []
    repeated_groups: list[Group] = []
    for row in reversed(rows):
        for key, text in zip(row["keys"], row["responses"], strict=True):
            is_drawn = int(key[:8], 16) < config.repeated_share * 2**32
            if is_drawn and pair_scores[key]["log_likelihood"] is not None:
                repeated_keys.append(key)
                repeated_groups.append(Group(row["context"], [text]))

    for key, [score] in zip(repeated_keys, teacher.score(repeated_groups), strict=True):
        pair_scores[key]["repeated"] = score.log_likelihood
    return list(pair_scores.values())


def _rejected_rows(row: Row, error: str) -> list[Row]:
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
    """Write SCORES: the stored pairs of a run's candidates, aligned with them. Return counts and noise.

    `noise_nats_per_token` is the largest difference between two scorings of the pairs that were scored twice.
    """
    tally = _Tally()
    with (
        RequestedKeys(_pair_keys(candidates_uri)) as pairs,
        RequestedKeys(_prior_keys(candidates_uri)) as priors,
    ):
        stored = zip(pairs.rows(pairs_uri), priors.rows(pairs_uri), strict=True)
        rows = (_aligned(row, stored, tally) for row in _seen(candidates_uri))
        num_contexts = write_rows(output_uri, rows, SCORES)
    return {"contexts": num_contexts, **tally.counts()}


def _aligned(row: Row, stored: Iterator[tuple[Row | None, Row | None]], tally: "_Tally") -> Row:
    """Return the row of SCORES of a row of CANDIDATES, whose pairs and priors come next in `stored`."""
    candidates = row["candidates"]
    columns: dict[str, list[Any]] = {
        "log_likelihood": [],
        "prior": [],
        "tokens": [],
        "bytes": [],
        "similarity": [],
    }

    for candidate, (pair, prior) in zip(candidates, islice(stored, len(candidates)), strict=True):
        assert pair is not None, "a pair is not in the store"
        tally.add(pair)
        columns["log_likelihood"].append(pair["log_likelihood"])
        columns["prior"].append(None if prior is None else prior["log_likelihood"])
        columns["tokens"].append(pair["tokens"])
        columns["bytes"].append(len(candidate["text"].encode()))
        columns["similarity"].append(pair["similarity"])

    return {"example_id": row["example_id"], **columns}


class _Tally:
    """Counts pairs while they pass."""

    def __init__(self) -> None:
        self._pairs = self._rejected = self._repeated = 0
        self._errors: set[str] = set()
        self._noise = 0.0

    def add(self, pair: Row) -> None:
        self._pairs += 1

        if pair["error"] is not None:
            self._rejected += 1
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
            "pairs rejected": self._rejected,
            "errors": sorted(self._errors),
            **(twice if self._repeated else {}),
        }
