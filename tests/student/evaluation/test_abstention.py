"""Abstention on scores and turns of known quality."""

import numpy as np
import pytest
from scipy.special import expit

from student.evaluation.abstention import fit_confidence, quality_by_coverage


def test_the_most_usual_turns_are_answered_up_to_the_share_that_was_chosen() -> None:
    scores, cross_entropies = np.random.default_rng(0).normal(size=(2, 200))
    hits = (scores > 0).astype(float)
    for coverage in (1.0, 0.8, 0.5):
        confidence = fit_confidence(scores, hits, cross_entropies, coverage)
        assert np.mean(cross_entropies <= confidence.max_cross_entropy) == pytest.approx(coverage)


def test_probabilities_are_those_that_the_scores_were_drawn_by() -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(0.4, 0.1, size=20_000)
    hits = (generator.random(20_000) < 1 / (1 + np.exp(-(10 * scores - 4)))).astype(float)
    confidence = fit_confidence(scores, hits, scores, 0.8)
    assert (confidence.slope, confidence.intercept) == pytest.approx((10, -4), rel=0.1)
    assert confidence.probability(0.4) == pytest.approx(0.5, abs=0.02)


def test_a_score_that_says_nothing_gives_the_mean_and_never_falls() -> None:
    scores = np.linspace(0, 1, 100)
    falling = fit_confidence(scores, (scores < 0.3).astype(float), scores, 0.8)
    assert falling.slope == 0
    assert expit(falling.intercept) == pytest.approx(0.3, abs=0.02)
    assert falling.probability(0.1) is None
    every_hit = fit_confidence(scores, np.ones(100), scores, 0.8)
    assert 0.9 < expit(every_hit.slope * 0.5 + every_hit.intercept) < 1


def test_quality_rises_with_abstention_where_usual_turns_are_answered_well() -> None:
    cross_entropies = np.linspace(0, 1, 100)
    rows = quality_by_coverage(cross_entropies, (cross_entropies < 0.5).astype(float))
    assert rows[0] == {"coverage": 1.0, "max_cross_entropy": 1.0, "hits@1/20": 0.5}
    assert [row["coverage"] for row in rows] == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3, 0.1])
    assert [row["hits@1/20"] for row in rows] == sorted(row["hits@1/20"] for row in rows)
    assert rows[-1]["hits@1/20"] == 1


def test_equally_usual_turns_are_answered_alike() -> None:
    rows = quality_by_coverage(np.full(10, 0.3), np.ones(10))
    assert {row["coverage"] for row in rows} == {1.0}
