"""Re-ranking of scores, by properties and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from student.retrieval.reranking import Scores, reranked


def test_the_best_have_the_similarity_added_in_the_students_deviations() -> None:
    scores = np.array([0.1, 0.8, 0.6, 0.3], np.float32)
    similarities = np.array([0.9, 0.2, 0.4, 0.9], np.float32)
    # The best two lie one deviation, 0.1, from their mean, once above and once below. The others keep their
    # distance from what was the second best score.
    assert_allclose(reranked(scores, similarities, 2), [0.2, 0.7, 0.7, 0.4], atol=1e-6)


@st.composite
def two_scores(draw: st.DrawFn) -> tuple[Scores, Scores]:
    values = st.floats(-1, 1, width=32)
    pairs = draw(st.lists(st.tuples(values, values), min_size=1, max_size=12, unique_by=lambda pair: pair[0]))
    scores, similarities = zip(*pairs, strict=True)
    return np.array(scores, np.float32), np.array(similarities, np.float32)


@given(two_scores(), st.integers(1, 14))
def test_the_others_come_after_the_best_in_their_order(both: tuple[Scores, Scores], depth: int) -> None:
    scores, similarities = both
    best, others = np.split(np.argsort(-scores, kind="stable"), [depth])
    ranked = reranked(scores, similarities, depth)
    assert np.isfinite(ranked).all()
    assert len(others) == 0 or ranked[best].min() >= ranked[others].max() - 1e-6
    assert (np.diff(ranked[others]) <= 1e-6).all()

    standardised = [(values[best] - values[best].mean()) / max(values[best].std(), 1e-6) for values in both]
    if min(values[best].std() for values in both) > 1e-2:
        sums = (ranked[best] - scores[best].mean()) / scores[best].std()
        assert_allclose(sums, sum(standardised), atol=1e-3)


@pytest.mark.parametrize("depth", [1, 3, 9])
def test_what_cannot_be_answered_changes_no_other_score(depth: int) -> None:
    generator = np.random.default_rng(0)
    scores, similarities = generator.random((2, 12), np.float32)
    alone = reranked(scores[:8], similarities[:8], depth)
    assert_allclose(reranked(scores, similarities, depth, 8)[:8], alone, atol=1e-6)
