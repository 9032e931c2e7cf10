"""From scores to ranking metrics. C contexts, N responses."""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from student.evaluation.metrics import DEPTH, candidate_metrics, rank_metrics

NUM_CANDIDATES = 20


def sample_candidates(gold: Sequence[int], replies: Sequence[int], seed: int) -> list[list[int]]:
    """For each context [C, 20] its gold reply, then 19 other replies, as columns of the scores."""
    generator = random.Random(seed)
    sampled = []
    for own in gold:
        others = [reply for reply in generator.sample(replies, NUM_CANDIDATES) if reply != own]
        sampled.append([own, *others[: NUM_CANDIDATES - 1]])
    return sampled


def ranking_metrics(
    scores: NDArray[np.float32], gold: Sequence[int], sampled: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Means over contexts of `ranking_metrics_by_context`."""
    by_context = ranking_metrics_by_context(scores, gold, sampled)
    return {name: float(values.mean()) for name, values in by_context.items()}


def ranking_metrics_by_context(
    scores: NDArray[np.float32], gold: Sequence[int], sampled: Sequence[Sequence[int]]
) -> dict[str, NDArray[np.float64]]:
    """Each [C]: `hits@1/20` among `sampled` [C, 20]; `mrr`, `recall@k`, `ndcg@10` among all columns.

    `gold` [C] are the columns of `scores` [C, N] with the right responses. `mrr` is 0 from rank 1,001 on.
    """
    ranked: dict[str, dict[str, float]] = {}
    among: dict[str, dict[str, float]] = {}
    for query, (row, own, candidates) in enumerate(zip(scores, gold, sampled, strict=True)):
        kept = min(DEPTH + 1, len(row))
        best = np.argpartition(-row, kept - 1)[:kept]
        ranked[str(query)] = {str(i): float(row[i]) for i in {*best.tolist(), own}}
        among[str(query)] = {str(i): float(row[i]) for i in candidates}
    qrels = _qrels(gold)
    hits = candidate_metrics(qrels, among)["hits@1/20"]
    return {"hits@1/20": hits, **rank_metrics(qrels, ranked)}


def candidate_metrics_by_context(
    scores: NDArray[np.float32], gold: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """`hits@1/20` and `mrr`, each [C], of `scores` [C, 20] of given candidates.

    `gold` [C] are the columns of the right ones.
    """
    assert scores.shape == (len(gold), NUM_CANDIDATES)
    run = {
        str(query): {str(i): float(score) for i, score in enumerate(row)} for query, row in enumerate(scores)
    }
    return candidate_metrics(_qrels(gold), run)


def _qrels(gold: Sequence[int]) -> dict[str, dict[str, int]]:
    return {str(query): {str(own): 1} for query, own in enumerate(gold)}
