"""Metrics against numbers worked by hand."""

import pytest

from student.metrics import hits_metric, rank_metrics


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
