"""Metrics against numbers worked by hand."""

import pytest
from scipy.sparse import csr_matrix

from student.metrics import hits_metric, rank_metrics, sparsity_metrics


def test_metrics_are_means_over_contexts() -> None:
    qrels = {"0": {"a": 1}, "1": {"a": 1}, "2": {"b": 1}}
    run = {
        "0": {"a": 3.0, "b": 2.0, "c": 1.0},  # rank 1
        "1": {"a": 0.5, "b": 2.0, "c": 1.0},  # rank 3
        "2": {"a": 2.0, "c": 1.0},  # not found
    }
    found = rank_metrics(qrels, run)
    assert found["mrr"] == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert found["recall@1"] == pytest.approx(1 / 3)
    assert found["recall@10"] == pytest.approx(2 / 3)
    assert hits_metric(qrels, run) == pytest.approx({"hits@1/20": 1 / 3})


@pytest.mark.parametrize("gold", ["a", "b", "c"])
@pytest.mark.parametrize("score", [0.0, 1.0, -3.0, 20.0])
def test_a_tie_counts_against_the_system_whatever_the_ids(gold: str, score: float) -> None:
    found = rank_metrics({"0": {gold: 1}}, {"0": dict.fromkeys("abc", score)})
    assert (found["mrr"], found["recall@1"]) == (pytest.approx(1 / 3), 0.0)


def test_flops_are_the_multiplications_of_a_mean_pair() -> None:
    # Four terms. Shares of contexts: 1, 0, 1/2, 0; of responses: 1/2, 1/2, 1/4, 0.
    contexts = csr_matrix([[1.0, 0, 2, 0], [0.5, 0, 0, 0]])
    responses = csr_matrix([[1.0, 1, 0, 0], [0, 1, 0, 0], [3, 0, 1, 0], [0, 0, 0, 0]])
    assert sparsity_metrics(contexts, responses) == {
        "context_terms": 1.5,
        "response_terms": 1.25,
        "flops": 1 * 1 / 2 + 1 / 2 * 1 / 4,
    }
