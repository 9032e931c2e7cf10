"""Metrics against numbers worked by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from student.evaluation.metrics import DEPTH, candidate_metrics, rank_metrics, sparsity_metrics
from student.evaluation.ranking import (
    candidate_metrics_by_context,
    ranking_metrics,
    ranking_metrics_by_context,
)


def descending(count: int) -> NDArray[np.float32]:
    """Scores [count]; column i has rank i + 1."""
    return -np.arange(count, dtype=np.float32)


def test_metrics_have_one_value_per_query_in_qrels_order() -> None:
    qrels = {"2": {"b": 1}, "0": {"a": 1}, "1": {"a": 1}, "3": {"a": 1}}
    run = {
        "0": {"a": 3.0, "b": 2.0, "c": 1.0},  # rank 1
        "1": {"a": 0.5, "b": 2.0, "c": 1.0},  # rank 3
        "2": {"a": 2.0, "c": 1.0},  # missing, as is the third, which is not in the run
    }
    metrics = rank_metrics(qrels, run)

    assert metrics["mrr"] == pytest.approx([0, 1, 1 / 3, 0])
    assert metrics["recall@1"] == pytest.approx([0, 1, 0, 0])
    assert metrics["recall@10"] == pytest.approx([0, 1, 1, 0])
    assert metrics["ndcg@10"] == pytest.approx([0, 1, 0.5, 0])  # 1 / log2(1 + rank)

    among = candidate_metrics(qrels, run)
    assert among["hits@1/20"] == pytest.approx([0, 1, 0, 0])
    assert among["mrr"] == pytest.approx([0, 1, 1 / 3, 0])


@pytest.mark.parametrize("gold", ["a", "b", "c"])
@pytest.mark.parametrize("score", [0.0, 1.0, -3.0, 20.0])
def test_a_tie_counts_against_the_system_whatever_the_ids(gold: str, score: float) -> None:
    metrics = rank_metrics({"0": {gold: 1}}, {"0": dict.fromkeys("abc", score)})
    assert (metrics["mrr"], metrics["recall@1"]) == (pytest.approx(1 / 3), 0.0)
    assert metrics["ndcg@10"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rank", "mrr", "recalls", "ndcg"),
    [
        (1, 1, (1, 1, 1), 1),
        (3, 1 / 3, (0, 1, 1), 0.5),  # 1 / log2(4)
        (7, 1 / 7, (0, 1, 1), 1 / 3),  # 1 / log2(8)
        (11, 1 / 11, (0, 0, 1), 0),
        (101, 1 / 101, (0, 0, 0), 0),
        (DEPTH, 1 / DEPTH, (0, 0, 0), 0),
        (DEPTH + 1, 0, (0, 0, 0), 0),
    ],
)
def test_metrics_of_each_rank_among_all_responses(
    rank: int, mrr: float, recalls: tuple[float, ...], ndcg: float
) -> None:
    metrics = ranking_metrics_by_context(descending(1500)[None], [rank - 1], [range(20)])
    assert metrics["mrr"] == pytest.approx([mrr])
    assert [metrics[f"recall@{k}"][0] for k in (1, 10, 100)] == list(recalls)
    assert metrics["ndcg@10"] == pytest.approx([ndcg])


def test_responses_that_tie_with_the_gold_one_rank_before_it() -> None:
    # Alone at the top; with one other, rank 2; with nine, rank 10; with ten, rank 11.
    scores = np.zeros((4, 200), dtype=np.float32)
    for context, tied in enumerate((1, 2, 10, 11)):
        scores[context, 50 : 50 + tied] = 1.0
    metrics = ranking_metrics_by_context(scores, [50, 51, 55, 50], [range(50, 70)] * 4)

    assert metrics["mrr"] == pytest.approx([1, 1 / 2, 1 / 10, 1 / 11])
    assert metrics["recall@1"].tolist() == [1, 0, 0, 0]
    assert metrics["recall@10"].tolist() == [1, 1, 1, 0]
    assert metrics["hits@1/20"].tolist() == [1, 0, 0, 0]
    assert metrics["ndcg@10"] == pytest.approx([1, 1 / np.log2(3), 1 / np.log2(11), 0])


def test_ranks_of_random_scores_with_ties_equal_counts_of_higher_or_equal_scores() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 300, (200, 1200)).astype(np.float32)
    gold = generator.integers(0, 1200, 200)
    others = np.stack([generator.permutation(np.delete(np.arange(1200), column))[:19] for column in gold])
    sampled = np.column_stack([gold, others])
    gold_scores = scores[np.arange(200), gold][:, None]
    ranks = (scores >= gold_scores).sum(axis=1)  # the gold one is among those counted
    among = (np.take_along_axis(scores, sampled, axis=1) >= gold_scores).sum(axis=1)

    metrics = ranking_metrics_by_context(scores, gold.tolist(), sampled.tolist())

    assert metrics["mrr"] == pytest.approx(np.where(ranks <= DEPTH, 1 / ranks, 0))

    for k in (1, 10, 100):
        assert metrics[f"recall@{k}"].tolist() == (ranks <= k).tolist()
    assert metrics["ndcg@10"] == pytest.approx(np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0))
    assert metrics["hits@1/20"].tolist() == (among == 1).tolist()

    means = {name: values.mean() for name, values in metrics.items()}
    assert ranking_metrics(scores, gold.tolist(), sampled.tolist()) == pytest.approx(means)


def test_fixed_candidates_are_ranked_among_themselves_and_ties_count_against_the_gold_one() -> None:
    # Ranks 1, 3 and, by a tie of all, 20.
    scores = np.stack([descending(20), descending(20), np.zeros(20, dtype=np.float32)])
    metrics = candidate_metrics_by_context(scores, [0, 2, 7])
    assert metrics["hits@1/20"].tolist() == [1, 0, 0]
    assert metrics["mrr"] == pytest.approx([1, 1 / 3, 1 / 20])


def test_flops_are_the_multiplications_of_a_mean_pair() -> None:
    # Four terms. Shares of contexts: 1, 0, 1/2, 0; of responses: 1/2, 1/2, 1/4, 0.
    contexts = csr_matrix([[1.0, 0, 2, 0], [0.5, 0, 0, 0]])
    responses = csr_matrix([[1.0, 1, 0, 0], [0, 1, 0, 0], [3, 0, 1, 0], [0, 0, 0, 0]])
    assert sparsity_metrics(contexts, responses) == {
        "context_terms": 1.5,
        "response_terms": 1.25,
        "flops": 1 * 1 / 2 + 1 / 2 * 1 / 4,
    }


def test_scores_that_are_nan_rank_nothing() -> None:
    scores = np.stack([descending(20), descending(20)])
    scores[1, 7] = np.nan
    with pytest.raises(ValueError, match=r"^1 of 2 contexts have scores that are NaN"):
        ranking_metrics_by_context(scores, [0, 0], [range(20)] * 2)
    with pytest.raises(ValueError, match=r"^1 of 2 contexts have scores that are NaN"):
        candidate_metrics_by_context(scores, [0, 0])
