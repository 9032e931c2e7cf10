"""Intervals and tests for systems measured on the same contexts.

S seeds, C contexts, G conversations. Contexts of one conversation are not independent, so conversations are
resampled. Seeds are not: an interval is of these trained students on other conversations, and
`seed_deviation` estimates how much another training would differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, permutation_test

Values = NDArray[np.float64]

_SIGN_FLIPS = 9999  # all of them where there are fewer, that is of up to 13 conversations
_FLIPS_AT_ONCE = 1000  # bounds memory


@dataclass(frozen=True)
class Interval:
    """A mean over contexts and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """A mean difference of two systems, with the two-sided p-value of there being none."""

    p_value: float


def interval(values: Values, groups: Sequence[str], resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of `values` [S, C] and its percentile-bootstrap interval over conversations.

    `groups` [C] names each context's conversation. A drawn conversation brings all its contexts, so
    the resampled mean is a ratio, of values to contexts. With few conversations it is somewhat narrow: in
    simulations of 10, 40, 100 and 200 it covered the truth in 89, 93, 94 and 94.5 % of 3,000 cases. Where
    there is nothing to resample (one conversation, or equal values) it is the mean alone.

    Raises:
        ValueError: a value is not finite.
    """
    per_context = _mean_over_seeds(values)
    mean = float(per_context.mean())
    sums, counts = _by_conversation(per_context, groups)
    if len(counts) == 1 or np.ptp(per_context) == 0:
        return Interval(mean, mean, mean)

    resampled = bootstrap(
        (sums, counts),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(resampled.low), float(resampled.high))


def paired_difference(
    first: Values, second: Values, groups: Sequence[str], resamples: int = 2000, seed: int = 0
) -> Difference:
    """Return `second` [S2, C] minus `first` [S1, C], its interval (see `interval`) and its p-value.

    The test is a paired randomisation test: if the systems were alike, each conversation's difference could
    as well have the other sign. Conversations change sign as a whole. With up to 13 of them every
    assignment of signs is tried, with more 9,999 random ones.

    Raises:
        ValueError: a value is not finite.
    """
    difference = _mean_over_seeds(second) - _mean_over_seeds(first)

    mean_difference = interval(difference[None], groups, resamples, seed)
    sums, _ = _by_conversation(difference, groups)
    p_value = _sign_flip_p_value(sums, seed)
    return Difference(mean_difference.mean, mean_difference.low, mean_difference.high, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values, in their order, corrected for their number (Holm 1979).

    The chance that any of them is below 0.05 without there being a difference is 0.05 then.
    """
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def seed_deviation(values: Values) -> float:
    """Return the standard deviation over seeds of the mean of `values` [S, C] over contexts; 0 for one seed.

    Raises:
        ValueError: a value is not finite.
    """
    _check_finite(values)
    return float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else 0.0


def _mean_over_seeds(values: Values) -> Values:
    """[C]"""
    _check_finite(values)
    mean: Values = values.mean(axis=0)
    return mean


def _check_finite(values: Values) -> None:
    assert values.ndim == 2 and values.size
    undefined = int((~np.isfinite(values)).any(axis=0).sum())
    if undefined:
        raise ValueError(f"{undefined} of {values.shape[1]} contexts have a value that is not finite")


def _by_conversation(per_context: Values, groups: Sequence[str]) -> tuple[Values, NDArray[np.intp]]:
    """Return sums [G] and counts [G] of the values [C] of each conversation."""
    assert len(groups) == len(per_context)
    _, conversation, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    sums = np.zeros(len(counts))
    np.add.at(sums, conversation, per_context)
    return sums, counts


def _ratio(sums: Values, counts: Values, axis: int) -> Values:
    ratio: Values = sums.sum(axis=axis) / counts.sum(axis=axis)
    return ratio


def _sign_flip_p_value(sums: Values, seed: int) -> float:
    if len(sums) == 1:
        return 1.0  # of two signs, both are as far from zero
    test = permutation_test(
        (sums,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_SIGN_FLIPS,
        batch=_FLIPS_AT_ONCE,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)
