from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from teachers.scoring.config import Combination, Scale
from teachers.scoring.ensemble import (
    Array,
    combine,
    entropy,
    fill_missing,
    fit_temperature_to_entropy,
    fit_temperature_to_gold,
    fit_weights,
    gold_cross_entropy,
    has_score,
    mean_deviation,
    normalise,
    scale_scores,
    softmax,
    z_score,
)

COMBINATIONS: tuple[Combination, ...] = get_args(Combination)

properties = settings(max_examples=50, deadline=None, derandomize=True)
every_combination = pytest.mark.parametrize("combination", COMBINATIONS)


def whole(low: int, high: int) -> st.SearchStrategy[float]:
    # Whole numbers: shifting and scaling them makes and breaks no ties.
    return st.integers(low, high).map(float)


@st.composite
def ensembles(draw: st.DrawFn) -> tuple[Array, Array, Array]:
    """Scores [T, K], temperatures [T], weights [T]."""
    teachers, candidates = draw(st.integers(1, 4)), draw(st.integers(2, 8))
    scores = draw(arrays(np.float64, (teachers, candidates), elements=whole(-20, 20)))
    temperatures = draw(arrays(np.float64, teachers, elements=st.sampled_from([0.25, 0.5, 1.0, 4.0])))
    weights = draw(arrays(np.float64, teachers, elements=st.sampled_from([0.125, 0.5, 1.0, 3.0])))
    return scores, temperatures, weights


def z_scores(scores: Array) -> Array:
    return np.stack([z_score(row) for row in scores])


# Scores


def test_normalisations_by_hand() -> None:
    log_likelihood, prior = np.array([-4.0, -6.0]), np.array([-6.0, -5.0])
    raw = (log_likelihood, prior, np.array([2.0, 4.0]), np.array([8.0, 10.0]))
    assert normalise("mean_log_likelihood", *raw) == pytest.approx([-2.0, -1.5])
    assert normalise("log_likelihood_per_byte", *raw) == pytest.approx([-0.5, -0.6])
    assert normalise("pointwise_mutual_information", *raw) == pytest.approx([2.0, -1.0])


@properties
@given(arrays(np.float64, 5, elements=whole(-20, 20)), st.floats(0.01, 100), whole(-1000, 1000))
def test_z_scores_ignore_shift_and_positive_scale(scores: Array, scale: float, shift: float) -> None:
    assert z_score(scale * scores + shift) == pytest.approx(z_score(scores), abs=1e-6)


def test_z_scores_have_mean_0_and_deviation_1_without_the_missing() -> None:
    # Of 1 and 3: mean 2, deviation 1.
    assert z_score(np.array([1.0, np.nan, 3.0])) == pytest.approx([-1.0, np.nan, 1.0], nan_ok=True)
    assert z_score(np.array([2.0, 2.0])) == pytest.approx([0.0, 0.0])
    assert np.isnan(z_score(np.array([np.nan, np.nan]))).all()


def test_a_mean_deviation_is_of_the_contexts_that_were_scored() -> None:
    # Deviations 1 and 2; the mean of both.
    contexts = [np.array([1.0, np.nan, 3.0]), np.full(2, np.nan), np.array([0.0, 4.0])]
    assert mean_deviation(contexts) == 1.5
    assert np.isnan(mean_deviation(contexts[1:2]))


def test_scales_by_hand() -> None:
    scores, deviations = np.array([[1.0, 3.0], [np.nan, np.nan], [5.0, 5.0]]), np.array([4.0, 1.0, 0.0])
    expected = {
        "context": [[-1.0, 1.0], [np.nan, np.nan], [0.0, 0.0]],
        "teacher": [[-0.25, 0.25], [np.nan, np.nan], [0.0, 0.0]],
        "none": scores,
    }
    for scale in get_args(Scale):
        assert scale_scores(scores, scale, deviations) == pytest.approx(
            np.array(expected[scale]), nan_ok=True
        )


def test_a_candidate_has_a_score_where_a_teacher_gave_one() -> None:
    assert has_score(np.array([[1.0, np.nan, np.nan], [np.nan, 2.0, np.nan]])).tolist() == [True, True, False]


def test_missing_scores_become_the_mean_or_the_lowest_or_leave_the_teacher_out() -> None:
    scores = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan], [4.0, 5.0, 6.0]])
    neutral, kept = fill_missing(scores, "neutral")
    assert neutral.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert kept.tolist() == [True, False, True]

    lowest, kept = fill_missing(scores, "lowest")
    assert lowest.tolist() == [[1.0, 1.0, 3.0], [4.0, 5.0, 6.0]]
    assert kept.tolist() == [True, False, True]

    staying, kept = fill_missing(scores, "leave_out")
    assert staying.tolist() == [[4.0, 5.0, 6.0]]
    assert kept.tolist() == [False, False, True]


@properties
@given(ensembles(), st.sampled_from(["neutral", "lowest", "leave_out"]), st.data())
def test_filling_keeps_present_scores_and_leaves_no_nan(
    ensemble: tuple[Array, Array, Array], missing: Any, data: st.DataObject
) -> None:
    is_scored = data.draw(arrays(np.bool_, ensemble[0].shape))
    scores = np.where(is_scored, ensemble[0], np.nan)
    filled, kept = fill_missing(scores, missing)

    assert (
        kept.tolist() == (is_scored.all(axis=1) if missing == "leave_out" else is_scored.any(axis=1)).tolist()
    )
    assert np.isfinite(filled).all()
    assert (filled[is_scored[kept]] == scores[kept][is_scored[kept]]).all()


# Distributions


def test_softmax_by_hand() -> None:
    # ln 3 against 0: 3 to 1; at temperature 0.5: 9 to 1.
    assert softmax(np.array([np.log(3), 0.0]), 1.0) == pytest.approx([0.75, 0.25])
    assert softmax(np.array([np.log(3), 0.0]), 0.5) == pytest.approx([0.9, 0.1])


@properties
@given(arrays(np.float64, 4, elements=whole(-20, 20)), st.floats(0.05, 100), whole(-10_000, 10_000))
def test_softmax_ignores_shift(scores: Array, temperature: float, shift: float) -> None:
    shifted = softmax(scores + shift, temperature)
    assert shifted == pytest.approx(softmax(scores, temperature), abs=1e-9)
    assert shifted.sum() == pytest.approx(1.0)


def test_entropy_and_cross_entropy_by_hand() -> None:
    assert entropy(np.array([0.5, 0.5, 0.0])) == pytest.approx(np.log(2))
    # −ln 0.5 and −ln 0.125 are 1 and 3 times ln 2.
    distributions = [np.array([0.5, 0.5]), np.array([0.125, 0.875])]
    assert gold_cross_entropy(distributions) == pytest.approx(2 * np.log(2))
    assert np.isfinite(gold_cross_entropy([np.array([0.0, 1.0])]))


# Combinations. Two teachers of two candidates: [2 ln 9, 0] at temperature 2 is 9 to 1, that is
# [0.9, 0.1]; equal scores are [0.5, 0.5]. Weights 3 and 1 are shares 0.75 and 0.25.
TWO = (np.array([[2 * np.log(9), 0.0], [7.0, 7.0]]), np.array([2.0, 1.0]), np.array([3.0, 1.0]))


def test_mean_of_distributions_by_hand() -> None:
    # 0.75 · 0.9 + 0.25 · 0.5 = 0.8
    assert combine(*TWO, "mean_of_distributions") == pytest.approx([0.8, 0.2])


def test_mean_of_scores_by_hand() -> None:
    # 0.75 · ln 9 + 0 is 9^0.75 = 5.19615 to 1, and 5.19615 / 6.19615 = 0.83861.
    assert combine(*TWO, "mean_of_scores") == pytest.approx([0.83861, 0.16139], abs=1e-5)


def test_product_of_experts_by_hand() -> None:
    # 0.9³ · 0.5 to 0.1³ · 0.5 is 729 to 1.
    assert combine(*TWO, "product_of_experts") == pytest.approx([729 / 730, 1 / 730])


def test_max_by_hand() -> None:
    # max(0.75 · 0.9, 0.25 · 0.5) = 0.675 to max(0.75 · 0.1, 0.25 · 0.5) = 0.125, together 0.8.
    assert combine(*TWO, "max") == pytest.approx([0.84375, 0.15625])


def test_reciprocal_rank_fusion_by_hand() -> None:
    # Ranks 1, 2, 3 and, the tie sharing the mean of 1 and 2, 1.5, 1.5, 3. The sums 1/61 + 1/61.5,
    # 1/62 + 1/61.5 and 2/63 are 0.0326536, 0.0323892 and 0.0317460: mean 0.0322629, deviation
    # 0.00038112, z-scores 1.0250, 0.3313, −1.3563. Temperature (1 + 3) / 2 = 2 halves them:
    # exp gives 1.6695, 1.1802, 0.5075 of 3.3572.
    scores = np.array([[3.0, 2.0, 1.0], [5.0, 5.0, 0.0]])
    fused = combine(scores, np.array([1.0, 3.0]), np.array([1.0, 1.0]), "reciprocal_rank_fusion")
    assert fused == pytest.approx([0.4973, 0.3515, 0.1512], abs=1e-4)


@every_combination
@properties
@given(ensembles())
def test_probabilities_sum_to_one(combination: Combination, ensemble: tuple[Array, Array, Array]) -> None:
    probabilities = combine(*ensemble, combination)
    assert probabilities.sum() == pytest.approx(1.0)
    assert (probabilities >= 0).all()


@every_combination
@properties
@given(ensembles(), st.randoms(use_true_random=False))
def test_target_probs_are_equivariant_to_candidate_order(
    combination: Combination, ensemble: tuple[Array, Array, Array], random: Any
) -> None:
    scores, temperatures, weights = ensemble
    order = random.sample(range(scores.shape[1]), scores.shape[1])
    reordered = combine(scores[:, order], temperatures, weights, combination)
    assert reordered == pytest.approx(combine(*ensemble, combination)[order], abs=1e-9)


@every_combination
@properties
@given(ensembles(), st.randoms(use_true_random=False))
def test_target_probs_are_invariant_to_teacher_order(
    combination: Combination, ensemble: tuple[Array, Array, Array], random: Any
) -> None:
    scores, temperatures, weights = ensemble
    order = random.sample(range(len(scores)), len(scores))
    reordered = combine(scores[order], temperatures[order], weights[order], combination)
    assert reordered == pytest.approx(combine(*ensemble, combination), abs=1e-9)


@every_combination
@properties
@given(ensembles(), st.data())
def test_target_probs_are_invariant_to_a_shift_of_one_teachers_scores(
    combination: Combination, ensemble: tuple[Array, Array, Array], data: st.DataObject
) -> None:
    scores, temperatures, weights = ensemble
    shifts = data.draw(arrays(np.float64, (len(scores), 1), elements=whole(-1000, 1000)))
    shifted = combine(scores + shifts, temperatures, weights, combination)
    assert shifted == pytest.approx(combine(*ensemble, combination), abs=1e-9)


@every_combination
@properties
@given(ensembles(), st.data())
def test_z_scored_target_probs_are_invariant_to_one_teachers_positive_scale(
    combination: Combination, ensemble: tuple[Array, Array, Array], data: st.DataObject
) -> None:
    scores, temperatures, weights = ensemble
    scales = data.draw(arrays(np.float64, (len(scores), 1), elements=st.floats(0.01, 100)))
    scaled = combine(z_scores(scales * scores), temperatures, weights, combination)
    assert scaled == pytest.approx(combine(z_scores(scores), temperatures, weights, combination), abs=1e-9)


@every_combination
@properties
@given(ensembles())
def test_the_candidate_that_every_teacher_ranks_first_is_most_probable(
    combination: Combination, ensemble: tuple[Array, Array, Array]
) -> None:
    scores, temperatures, weights = ensemble
    scores[:, 1] = scores.max(axis=1)
    probabilities = combine(scores, temperatures, weights, combination)
    assert probabilities[1] == pytest.approx(probabilities.max())


@pytest.mark.parametrize("combination", [each for each in COMBINATIONS if each != "product_of_experts"])
@properties
@given(ensembles(), st.floats(0.1, 10))
def test_only_the_ratios_of_weights_count_outside_a_product(
    combination: Combination, ensemble: tuple[Array, Array, Array], factor: float
) -> None:
    scores, temperatures, weights = ensemble
    scaled = combine(scores, temperatures, factor * weights, combination)
    assert scaled == pytest.approx(combine(*ensemble, combination), abs=1e-9)


# Fits


@pytest.mark.parametrize("planted", [0.05, 0.7, 1.0, 20.0])
def test_the_fit_to_entropy_recovers_the_planted_temperature(planted: float) -> None:
    # At the planted temperature [0.9, 0.1] and [0.5, 0.25, 0.25]: 0.325083 and 1.5 ln 2 nats.
    scores = [planted * np.log([9.0, 1.0]), planted * np.log([2.0, 1.0, 1.0])]
    fitted = fit_temperature_to_entropy(scores, (0.325083 + 1.5 * np.log(2)) / 2)
    assert fitted == pytest.approx(planted, rel=1e-4)


def test_an_unreachable_entropy_is_refused() -> None:
    # Of two candidates it is below ln 2 = 0.693, of two and four in the mean below 1.040.
    with pytest.raises(ValueError, match=r"targets\.entropy = 0\.7 nats .* 0\.693"):
        fit_temperature_to_entropy([np.array([1.0, 0.0])], 0.7)
    with pytest.raises(ValueError, match=r"targets\.entropy"):
        fit_temperature_to_entropy([np.array([1.0, 0.0]), np.array([1.0, 0.0, 0.0, 2.0])], 1.041)


def test_tied_best_scores_fit_the_lowest_temperature() -> None:
    assert fit_temperature_to_entropy([np.array([1.0, 1.0, 0.0])], 0.5) == 0.01


@pytest.mark.parametrize("planted", [0.05, 0.7, 1.0, 20.0])
def test_the_fit_to_gold_recovers_the_planted_temperature(planted: float) -> None:
    # Gold scores best in 9 of 10 contexts: −log p(gold) is least where p is 0.9, that is 9 to 1.
    right, wrong = planted * np.log([9.0, 1.0]), planted * np.log([1.0, 9.0])
    assert fit_temperature_to_gold([right] * 9 + [wrong]) == pytest.approx(planted, rel=1e-3)


def test_the_fit_to_gold_stays_in_bounds_where_gold_is_always_or_never_best() -> None:
    # At 0.03 the wrong response has e^-33, and the loss is 0 in floating point.
    assert 0.01 <= fit_temperature_to_gold([np.array([1.0, 0.0])]) < 0.03
    assert fit_temperature_to_gold([np.array([0.0, 1.0])]) == pytest.approx(100, rel=0.01)


def test_fitted_weights_recover_the_share_of_contexts_in_which_a_teacher_is_right() -> None:
    # Each teacher is sure, one is right in 7 of 10 contexts, the other in the rest: the mean of
    # distributions gives gold w or 1 − w, and −0.7 log w − 0.3 log (1 − w) is least at 0.7.
    first, second = np.array([[20.0, 0.0], [0.0, 20.0]]), np.array([[0.0, 20.0], [20.0, 0.0]])
    weights = fit_weights([first] * 7 + [second] * 3, np.ones(2), "mean_of_distributions")
    assert weights == pytest.approx([0.7, 0.3], abs=1e-3)


@pytest.mark.parametrize("combination", ["mean_of_scores", "product_of_experts"])
def test_fitted_weights_recover_the_informative_teachers_weight(combination: Combination) -> None:
    # One teacher's gap is ln 9 / 0.7, gold ahead in 9 of 10 contexts; the other knows nothing. The
    # weight w makes the gap w ln 9 / 0.7, and it is best at ln 9, 9 to 1.
    gap = np.log(9) / 0.7
    right, wrong = np.array([[gap, 0.0], [0.0, 0.0]]), np.array([[0.0, gap], [0.0, 0.0]])
    weights = fit_weights([right] * 9 + [wrong], np.ones(2), combination)
    assert weights == pytest.approx([0.7, 0.3], abs=1e-3)


@every_combination
def test_fitted_weights_sum_to_one_and_are_no_worse_than_equal_ones(combination: Combination) -> None:
    generator = np.random.default_rng(0)
    # The first teacher prefers the gold response, the second scores at random.
    contexts = [generator.normal(size=(2, 6)) + np.array([[1.5], [0.0]]) * np.eye(6)[0] for _ in range(40)]
    temperatures, equal = np.array([0.5, 0.5]), np.array([0.5, 0.5])

    def loss(weights: Array) -> float:
        return gold_cross_entropy([combine(rows, temperatures, weights, combination) for rows in contexts])

    weights = fit_weights(contexts, temperatures, combination)

    assert weights.sum() == pytest.approx(1.0)
    assert weights[0] > weights[1]
    assert loss(weights) < loss(equal)


@every_combination
def test_a_lone_teacher_has_all_the_weight(combination: Combination) -> None:
    weights = fit_weights([np.array([[1.0, 0.0]])], np.ones(1), combination)
    assert weights.tolist() == [1.0]
