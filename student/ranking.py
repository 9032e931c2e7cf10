"""From scores to ranking metrics. C contexts, N responses."""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from student.metrics import DEPTH, hits_metric, rank_metrics

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
    """`hits@1/20` among `sampled` [C, 20], and `mrr` and `recall@k` among all columns of `scores` [C, N].

    `gold` [C] are the columns of the right responses.
    """
    qrels = {str(query): {str(own): 1} for query, own in enumerate(gold)}
    ranked: dict[str, dict[str, float]] = {}
    among: dict[str, dict[str, float]] = {}
    for query, (row, own, candidates) in enumerate(zip(scores, gold, sampled, strict=True)):
        kept = min(DEPTH + 1, len(row))
        best = np.argpartition(-row, kept - 1)[:kept]
        ranked[str(query)] = {str(i): float(row[i]) for i in {*best.tolist(), own}}
        among[str(query)] = {str(i): float(row[i]) for i in candidates}
    return {**hits_metric(qrels, among), **rank_metrics(qrels, ranked)}
