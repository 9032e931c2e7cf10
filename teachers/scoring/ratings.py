"""Correlations of teachers' scores with human ratings of responses.

N rated responses, G contexts, each with several responses.
"""

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, kendalltau, spearmanr

from teachers.corpora.conversations import Message, check_source, clean, read
from teachers.dataset import read_rows
from teachers.scoring.config import TargetsConfig
from teachers.scoring.ensemble import Array
from teachers.scoring.scored_rows import read_scores
from teachers.scoring.targets import fit_ensemble

OVERALL = "overall"

Rows = NDArray[np.int64]
Scores = dict[str, Array]
"""context -> scores [K] of its distinct responses"""


@dataclass(frozen=True)
class Rated:
    """A response to a context, and its human ratings."""

    id: str
    context_id: str
    messages: list[Message]
    """Oldest turn first, the last one the user's; cleaned as conversations are, but not cut."""
    response: str
    human_scores: dict[str, float]
    """Ratings by quality; `overall` is always there."""

    @property
    def overall(self) -> float:
        """The rating of the response as a whole; of USR, the mean of three ratings from 1 to 5."""
        return self.human_scores[OVERALL]


def read_ratings(uri: str) -> list[Rated]:
    """Return rated responses out of JSON Lines, also gzipped.

    A row has `id`, `context_id`, `messages`, `response` and `human_scores`, which maps qualities to numbers,
    at least `overall`. Other keys are left out.

    Raises:
        ValueError: there is no such file, or a row is malformed; the message names file, line and key.
    """
    check_source(uri)
    rated = []
    for name, row in read(uri):
        try:
            rated.append(_rated(row))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return rated


def _rated(row: Any) -> Rated:
    messages = clean(row, sys.maxsize).messages
    if not messages or messages[-1]["role"] != "user":
        raise ValueError("expected `messages` that end with a turn of the user")
    strings = {key: row.get(key) for key in ("id", "context_id", "response")}
    for key, value in strings.items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"expected a string with text as `{key}`")
    return Rated(messages=messages, human_scores=_human_scores(row.get("human_scores")), **strings)


def _human_scores(scores: Any) -> dict[str, float]:
    if not isinstance(scores, dict):
        raise ValueError("`human_scores` is not an object")
    if OVERALL not in scores:
        raise ValueError(f"no `human_scores.{OVERALL}`")
    for key, value in scores.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"`human_scores.{key}` is not a number")
    return {key: float(value) for key, value in scores.items()}


def rated_candidates(rated: Sequence[Rated]) -> list[dict[str, Any]]:
    """Return rows of CANDIDATES for teachers to score: the distinct responses to each context."""
    by_context: dict[str, list[Rated]] = {}
    for response in rated:
        by_context.setdefault(response.context_id, []).append(response)

    rows: list[dict[str, Any]] = []
    for context_id, responses in by_context.items():
        candidates: list[dict[str, str | None]] = []
        for text in dict.fromkeys(response.response for response in responses):
            candidates.append({"text": text, "source": "retrieved", "teacher": None})

        rows.append(
            {
                "example_id": context_id,
                "conversation_id": context_id,
                "split": "test",
                "context": responses[0].messages,
                "candidates": candidates,
                "for_teachers": True,
            }
        )
    return rows


def rating_correlations(
    rated: Sequence[Rated], candidates_uri: str, scores_uris: dict[str, str], config: TargetsConfig
) -> dict[str, dict[str, Any]]:
    """Return `rank_correlations` with the overall ratings by scorer: each teacher, and their ensemble.

    A generative teacher is there with its mutual information and its mean log-likelihood, the ensemble
    with the log of its target probabilities. CANDIDATES at `candidates_uri` are `rated_candidates`.

    Raises:
        ValueError: `config` fits something, for which the ratings are not meant.
    """
    if isinstance(config.temperature, str) or not isinstance(config.weights, dict):
        raise ValueError("targets: an ensemble that is fitted cannot be held against ratings")

    texts: dict[str, list[str]] = {}
    for row in read_rows(candidates_uri):
        texts[row["example_id"]] = [candidate["text"] for candidate in row["candidates"]]
    ratings = np.array([response.overall for response in rated])
    contexts = [response.context_id for response in rated]

    correlations: dict[str, dict[str, Any]] = {}
    for scorer, scores in _scores_by_scorer(candidates_uri, scores_uris, config).items():
        correlations[scorer] = rank_correlations(_aligned(scores, texts, rated), ratings, contexts)
    return correlations


def _scores_by_scorer(
    candidates_uri: str, scores_uris: dict[str, str], config: TargetsConfig
) -> dict[str, Scores]:
    """Return the scores of each teacher, by both normalisations where they differ, and of the ensemble."""
    information = dict(read_scores(candidates_uri, scores_uris, "pointwise_mutual_information", "test"))
    likelihood = dict(read_scores(candidates_uri, scores_uris, "mean_log_likelihood", "test"))

    by_scorer: dict[str, Scores] = {}
    for number, teacher in enumerate(scores_uris):
        teacher_scores = {context: scores[number] for context, scores in information.items()}
        mean_scores = {context: scores[number] for context, scores in likelihood.items()}
        by_scorer[teacher] = teacher_scores
        if not _all_equal(mean_scores, teacher_scores):
            by_scorer[f"{teacher}, mean log-likelihood"] = mean_scores

    # The scale of a teacher is that of its scores here: nothing of the ratings goes into it.
    ensemble = fit_ensemble(list(scores_uris), config, list(information.values()), [])
    by_scorer["ensemble"] = {}
    for context, scores in information.items():
        probs = ensemble.target_probs(scores)
        log_probs = np.full(scores.shape[1], np.nan) if probs is None else np.log(probs)
        by_scorer["ensemble"][context] = log_probs
    return by_scorer


def _all_equal(scores: Scores, others: Scores) -> bool:
    """Whether `scores` equal those of the same contexts in `others`; NaN equals NaN."""
    for context, context_scores in scores.items():
        if not np.array_equal(context_scores, others[context], equal_nan=True):
            return False
    return True


def _aligned(scores: Scores, texts: dict[str, list[str]], rated: Sequence[Rated]) -> Array:
    """Return the scores [N] of the rated responses out of those of each context's distinct ones."""
    aligned: list[float] = []
    for response in rated:
        context_scores = scores.get(response.context_id)
        if context_scores is None:
            aligned.append(math.nan)
        else:
            place = texts[response.context_id].index(response.response)
            aligned.append(float(context_scores[place]))
    return np.array(aligned)


def rank_correlations(
    scores: Array, ratings: Array, contexts: Sequence[str], resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Return Spearman's and Kendall's (tau-b) rank correlations of `scores` [N] with `ratings` [N].

    `spearman` and `kendall_tau` are over all responses; `… within contexts` is the mean over contexts of
    the correlation among a context's responses, where both scores and ratings vary. Each has `mean`, its
    value, and `low` and `high`, its 95 % interval by the percentiles of a bootstrap that draws whole
    contexts (`contexts` [N] names each response's). What is undefined, since nothing varies, is left out.

    A NaN score, which the teacher did not give, is left out. `scored` and `unscored` count responses,
    `contexts` those with a scored response, `varied contexts` those that the correlations within are of.
    """
    assert len(scores) == len(ratings) == len(contexts) and np.isfinite(ratings).all()
    scored = np.flatnonzero(~np.isnan(scores))
    names = np.asarray(contexts)[scored]
    groups = [scored[names == name] for name in dict.fromkeys(names.tolist())]

    correlations: dict[str, Any] = {
        "scored": len(scored),
        "unscored": len(scores) - len(scored),
        "contexts": len(groups),
    }
    for key, measure in (("spearman", spearmanr), ("kendall_tau", kendalltau)):
        correlate = partial(_correlation, measure, scores, ratings)
        within = np.array([correlate(rows) for rows in groups])
        varied = within[~np.isnan(within)]
        correlations["varied contexts"] = len(varied)

        measured = {
            key: _interval(partial(_pooled, correlate, groups), len(groups), resamples, seed),
            f"{key} within contexts": _interval(partial(_mean, varied), len(varied), resamples, seed),
        }
        for name, values in measured.items():
            if values is not None:
                correlations[name] = values
    return correlations


def _correlation(measure: Callable[..., Any], scores: Array, ratings: Array, rows: Rows) -> float:
    """Return the correlation of some `rows`; NaN where their scores or ratings are all equal."""
    drawn, rated = scores[rows], ratings[rows]
    if np.ptp(drawn) == 0 or np.ptp(rated) == 0:
        return math.nan
    return float(measure(drawn, rated).statistic)


def _pooled(correlate: Callable[[Rows], float], groups: list[Rows], drawn: Rows) -> float:
    return correlate(np.concatenate([groups[group] for group in drawn]))


def _mean(values: Array, drawn: Rows) -> float:
    return float(values[drawn].mean())


def _interval(
    statistic: Callable[[Rows], float], size: int, resamples: int, seed: int
) -> dict[str, float] | None:
    """Return a statistic of the numbers of `size` contexts, and its interval; None where it is undefined."""
    every = np.arange(size)
    mean = statistic(every) if size else math.nan
    if math.isnan(mean):
        return None
    if size == 1:
        return {"mean": mean, "low": mean, "high": mean}

    with warnings.catch_warnings():
        # A resample of contexts in which nothing varies has no correlation and is left out below.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        drawn = bootstrap(
            (every,),
            statistic,
            vectorized=False,
            n_resamples=resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return {"mean": mean, "low": float(low), "high": float(high)}
