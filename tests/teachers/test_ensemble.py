import numpy as np
import pytest

from teachers.ensemble import mean_of_distributions, normalise, softmax, z_score

LOG_LIKELIHOOD = np.array([-4.0, -6.0])
PRIOR = np.array([-6.0, -5.0])
TOKENS = np.array([2.0, 4.0])
BYTES = np.array([8.0, 10.0])


def test_normalisations_by_hand() -> None:
    raw = (LOG_LIKELIHOOD, PRIOR, TOKENS, BYTES)
    assert normalise("mean_log_likelihood", *raw) == pytest.approx([-2.0, -1.5])
    assert normalise("log_likelihood_per_byte", *raw) == pytest.approx([-0.5, -0.6])
    assert normalise("pointwise_mutual_information", *raw) == pytest.approx([2.0, -1.0])


def test_softmax_by_hand_and_with_a_missing_score() -> None:
    # ln 3 / 1 against 0: 3 to 1; at temperature 0.5: 9 to 1.
    assert softmax(np.array([np.log(3), 0.0]), 1.0) == pytest.approx([0.75, 0.25])
    assert softmax(np.array([np.log(3), 0.0]), 0.5) == pytest.approx([0.9, 0.1])
    assert softmax(np.array([np.nan, 5.0]), 1.0) == pytest.approx([0.0, 1.0])


def test_softmax_does_not_underflow() -> None:
    assert softmax(np.array([-900.0, -901.0]), 1.0) == pytest.approx([0.7310586, 0.2689414])


def test_z_scores_ignore_shift_and_scale() -> None:
    scores = np.array([1.0, 2.0, 4.0])
    assert z_score(scores) == pytest.approx(z_score(scores * 7 - 3))
    assert z_score(np.array([2.0, 2.0])) == pytest.approx([0.0, 0.0])
    assert np.isnan(z_score(np.array([np.nan, 1.0, 3.0]))[0])


def test_mean_of_distributions_by_hand() -> None:
    distributions = np.array([[0.9, 0.1], [0.5, 0.5]])
    assert mean_of_distributions(distributions, np.array([1.0, 3.0])) == pytest.approx([0.6, 0.4])
