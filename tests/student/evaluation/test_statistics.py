"""Intervals and p-values against enumerations; the bootstrap's coverage by simulation."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from student.evaluation.statistics import holm, interval, paired_difference, seed_deviation

Values = NDArray[np.float64]


def test_the_mean_is_over_seeds_and_contexts_and_three_conversations_span_the_interval() -> None:
    # Over seeds: 0, 0.5, 1, 1. Conversations a, a, b and c have means 0.25, 1 and 1. Of 27 resamples one
    # (3.7 %) is a three times, with mean 0.25, and eight have no a, with mean 1: more than 2.5 % each.
    values = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]])
    result = interval(values, ["a", "a", "b", "c"], resamples=20_000)
    assert result.mean == pytest.approx((0 + 0.5 + 1 + 1) / 4)
    assert (result.low, result.high) == pytest.approx((0.25, 1.0))


def test_the_interval_is_that_of_all_resamples_of_unequal_conversations() -> None:
    # All 5^5 resamples, each the ratio of its summed values to its contexts.
    conversations = [[0.1], [0.9, 0.7], [0.2, 0.4, 0.3], [0.8], [0.5, 0.6, 1.0, 0.9]]
    resampled = [
        np.mean([value for conversation in drawn for value in conversation])
        for drawn in product(conversations, repeat=5)
    ]
    values = np.array([[value for conversation in conversations for value in conversation]])
    groups = [str(number) for number, values_of in enumerate(conversations) for _ in values_of]
    result = interval(values, groups, resamples=20_000)

    assert result.mean == pytest.approx(values.mean())
    assert (result.low, result.high) == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])), abs=0.01)


def test_contexts_that_agree_within_conversations_widen_the_interval() -> None:
    # Four conversations of 25 contexts, two all right and two all wrong: a resample's mean is 0 or 1 with
    # probability 1/16 each, above 2.5 %. A hundred independent contexts: 0.5 ± 1.96 · 0.5 / √100.
    values = np.repeat([[0.0, 1.0, 0.0, 1.0]], 25, axis=1)
    clustered = interval(values, [str(number // 25) for number in range(100)])
    independent = interval(values, [str(number) for number in range(100)])
    assert (clustered.low, clustered.high) == (0.0, 1.0)
    assert (independent.low, independent.high) == pytest.approx((0.402, 0.598), abs=0.02)


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        ([[0.2, 0.4, 0.9]], ["a", "a", "a"]),
        ([[0.1] * 3, [0.1] * 3], ["a", "b", "c"]),
        ([[0.7]], ["a"]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_interval_is_the_mean_without_variation_between_conversations(
    values: list[list[float]], groups: list[str]
) -> None:
    mean = float(np.mean(values))
    result = interval(np.array(values), groups)
    assert (result.mean, result.low, result.high) == pytest.approx((mean, mean, mean))


def simulated(generator: np.random.Generator) -> tuple[Values, list[str]]:
    """Values [1, C] of mean 0 in 100 conversations of 1 to 6 contexts, which share an effect."""
    sizes = generator.integers(1, 7, 100)
    effects = np.repeat(generator.standard_normal(100), sizes)
    groups = [str(number) for number in np.repeat(np.arange(100), sizes)]
    return (effects + 0.5 * generator.standard_normal(len(effects)))[None], groups


def test_the_interval_covers_the_truth_at_about_its_nominal_rate() -> None:
    generator = np.random.default_rng(0)
    covered = {"conversations": 0, "contexts": 0}
    for seed in range(300):
        values, groups = simulated(generator)
        single = [str(number) for number in range(len(groups))]
        for unit, resampled in (("conversations", groups), ("contexts", single)):
            result = interval(values, resampled, resamples=500, seed=seed)
            covered[unit] += result.low <= 0 <= result.high
    # Three standard errors of 94 % of 300, which is what 3,000 data sets gave.
    assert 0.90 <= covered["conversations"] / 300 <= 0.98
    assert covered["contexts"] / 300 < 0.85


@pytest.mark.parametrize(
    ("sums", "p_value"),
    [
        # Sums at least as high as the observed one, of 2^G sign flips; the lower tail is alike.
        ([1, 2, 3, 4, 5], 2 / 32),  # only the observed one
        ([-1, -2, -3], 2 / 8),
        ([-1, 2, 3, 4], 4 / 16),  # 8, and 10 where the first flips
        ([1, 1, -1], 8 / 8),  # 1: three of 1 and one of 3, twice 4 / 8
        ([2, -2], 1.0),
    ],
)
def test_the_p_value_is_the_share_of_sign_flips_as_extreme(sums: list[float], p_value: float) -> None:
    # Two contexts a conversation: they change sign together.
    difference = np.array([[part for total in sums for part in (1.5 * total, -0.5 * total)]])
    groups = [str(number) for number in range(len(sums)) for _ in range(2)]
    result = paired_difference(np.zeros_like(difference), difference, groups)
    assert result.mean == pytest.approx(sum(sums) / len(sums) / 2)
    assert result.p_value == pytest.approx(p_value)


def test_many_conversations_get_random_sign_flips_near_the_exact_p_value() -> None:
    # 14 differences of one: sums of at least 8 have at most 3 minus signs, (1 + 14 + 91 + 364) / 2^14.
    difference = np.array([[1.0] * 11 + [-1.0] * 3])
    result = paired_difference(np.zeros_like(difference), difference, list("abcdefghijklmn"))
    assert result.p_value == pytest.approx(2 * 470 / 2**14, abs=0.01)


def test_swapping_the_systems_negates_the_difference_and_keeps_the_p_value() -> None:
    generator = np.random.default_rng(1)
    groups = [str(number // 3) for number in range(90)]
    first, second = generator.random((2, 90)), generator.random((3, 90)) + 0.1
    difference, swapped = paired_difference(first, second, groups), paired_difference(second, first, groups)

    assert (swapped.mean, swapped.low, swapped.high) == pytest.approx(
        (-difference.mean, -difference.high, -difference.low)
    )
    assert difference.mean == pytest.approx(second.mean() - first.mean())
    assert swapped.p_value == difference.p_value < 1


@pytest.mark.filterwarnings("error")
def test_systems_that_never_differ_have_a_p_value_of_one() -> None:
    values = np.array([[0.3, 0.5, 0.2, 0.9]])
    for groups in (list("abcd"), list("aabb"), list("aaaa")):
        result = paired_difference(values, values, groups)
        assert (result.mean, result.low, result.high, result.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_one_conversation_has_a_p_value_of_one() -> None:
    result = paired_difference(np.zeros((1, 3)), np.ones((1, 3)), ["a", "a", "a"])
    assert (result.mean, result.p_value) == (1.0, 1.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    values, groups = simulated(np.random.default_rng(2))
    assert interval(values, groups, seed=1) == interval(values, groups, seed=1)
    assert interval(values, groups, seed=1) != interval(values, groups, seed=2)


def test_holms_correction_is_that_of_its_steps() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1))
def test_corrected_p_values_are_between_their_own_and_bonferronis(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for raw, value in zip(p_values, corrected, strict=True):
        assert raw <= value <= min(1.0, raw * len(p_values)) or value == pytest.approx(raw)
    by_raw = sorted(zip(p_values, corrected, strict=True))
    assert [value for _, value in by_raw] == sorted(corrected)


def test_seed_deviation_is_that_of_the_seeds_means() -> None:
    # Means 1, 2 and 3 have a variance of (1 + 0 + 1) / 2.
    assert seed_deviation(np.array([[0.0, 2.0], [2.0, 2.0], [1.0, 5.0]])) == pytest.approx(1.0)
    assert seed_deviation(np.array([[0.0, 2.0]])) == 0.0


def test_contexts_without_a_value_are_refused_and_counted() -> None:
    values = np.array([[np.nan, 1.0, 2.0], [0.0, 1.0, np.inf]])
    groups = ["a", "b", "c"]
    for measure in (
        lambda: interval(values, groups),
        lambda: paired_difference(np.ones((1, 3)), values, groups),
        lambda: seed_deviation(values),
    ):
        with pytest.raises(ValueError, match="2 of 3 contexts"):
            measure()
