"""Ranking metrics of score matrices. C contexts, N responses."""

import random
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from student.evaluation.metrics import DEPTH, candidate_metrics, rank_metrics

NUM_CANDIDATES = 20

Scores = NDArray[np.float32]


def sample_candidates(
    gold: Sequence[int], responses: Sequence[int], excluded: Sequence[Collection[int]], seed: int
) -> list[list[int]]:
    """Return for each context [C, 20] its gold response, then 19 others, as columns of the scores.

    The others are drawn from `responses` without the context's `excluded` [C] columns; they are fewer where
    it leaves no 19.
    """
    generator = random.Random(seed)
    sampled = []
    for gold_column, excluded_columns in zip(gold, excluded, strict=True):
        drawn = generator.sample(responses, min(len(responses), NUM_CANDIDATES + len(excluded_columns)))
        others: list[int] = []
        for column in drawn:
            if column != gold_column and column not in excluded_columns:
                others.append(column)
        sampled.append([gold_column, *others[: NUM_CANDIDATES - 1]])
    return sampled


def without_excluded(scores: Scores, excluded: Sequence[Collection[int]]) -> Scores:
    """Return `scores` [C, N] in which each context's excluded columns rank below all others."""
    ranked = scores.copy()
    for row, columns in enumerate(excluded):
        ranked[row, list(columns)] = scores.min() - 1
    return ranked


def check_scores(scores: Scores) -> None:
    """Raise ValueError where a score is NaN: it would rank anywhere, also first."""
    num_rows = int(np.isnan(scores).any(axis=-1).sum())
    if num_rows:
        raise ValueError(
            f"{num_rows} of {len(scores)} contexts have scores that are NaN; nothing can be ranked"
        )


def ranking_metrics(
    scores: Scores, gold: Sequence[int], sampled: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Return the means over contexts of `ranking_metrics_by_context`."""
    by_context = ranking_metrics_by_context(scores, gold, sampled)
    return {name: float(values.mean()) for name, values in by_context.items()}


def ranking_metrics_by_context(
    scores: Scores, gold: Sequence[int], sampled: Sequence[Sequence[int]]
) -> dict[str, NDArray[np.float64]]:
    """Return `hits@1/20` among `sampled` [C, 20]; `mrr`, `recall@k`, `ndcg@10` among all columns; each [C].

    `gold` [C] are the columns of `scores` [C, N] with the gold responses. `mrr` is 0 from rank 1,001 on.

    Raises:
        ValueError: a score is NaN.
    """
    check_scores(scores)
    ranked: dict[str, dict[str, float]] = {}
    among: dict[str, dict[str, float]] = {}
    for query, (row, gold_column, candidates) in enumerate(zip(scores, gold, sampled, strict=True)):
        num_kept = min(DEPTH + 1, len(row))
        best = np.argpartition(-row, num_kept - 1)[:num_kept]
        ranked[str(query)] = _as_run_row(row, {*best.tolist(), gold_column})
        among[str(query)] = _as_run_row(row, candidates)

    qrels = _gold_qrels(gold)
    hits = candidate_metrics(qrels, among)["hits@1/20"]
    return {"hits@1/20": hits, **rank_metrics(qrels, ranked)}


def candidate_metrics_by_context(scores: Scores, gold: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Return `hits@1/20` and `mrr`, each [C], of `scores` [C, 20] of fixed candidates.

    `gold` [C] are the columns of the gold ones.
    """
    assert scores.shape == (len(gold), NUM_CANDIDATES)
    check_scores(scores)
    run = {str(query): _as_run_row(row, range(NUM_CANDIDATES)) for query, row in enumerate(scores)}
    return candidate_metrics(_gold_qrels(gold), run)


def _as_run_row(scores: Scores, columns: Iterable[int]) -> dict[str, float]:
    """Return the scores of some columns as a run has them, by the column's name."""
    return {str(column): float(scores[column]) for column in columns}


def _gold_qrels(gold: Sequence[int]) -> dict[str, dict[str, int]]:
    return {str(query): {str(column): 1} for query, column in enumerate(gold)}
