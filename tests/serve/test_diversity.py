"""Maximal marginal relevance, worked by hand."""

import numpy as np
import pytest

from serve.diversity import maximal_marginal_relevance

SCORES = np.float32([0.9, 0.8, 0.5])
# The second is almost a paraphrase of the first.
SIMILARITIES = np.float32([[1, 0.95, 0.1], [0.95, 1, 0.2], [0.1, 0.2, 1]])


@pytest.mark.parametrize(
    ("diversity", "expected"),
    [
        (0.0, [0, 1, 2]),
        (0.2, [0, 1, 2]),  # 0.8 * 0.8 - 0.2 * 0.95 = 0.45 beside 0.8 * 0.5 - 0.2 * 0.1 = 0.38
        (0.5, [0, 2, 1]),  # 0.4 - 0.475 = -0.075 beside 0.25 - 0.05 = 0.2
        (1.0, [0, 2, 1]),
    ],
)
def test_mmr_demotes_similar_responses(diversity: float, expected: list[int]) -> None:
    assert maximal_marginal_relevance(SCORES, SIMILARITIES, 3, diversity).tolist() == expected
    assert maximal_marginal_relevance(SCORES, SIMILARITIES, 2, diversity).tolist() == expected[:2]


def test_k_above_the_number_of_candidates_returns_all() -> None:
    assert maximal_marginal_relevance(SCORES, SIMILARITIES, 10, 0.5).tolist() == [0, 2, 1]
    assert maximal_marginal_relevance(SCORES[:0], SIMILARITIES[:0, :0], 2, 0.5).tolist() == []
