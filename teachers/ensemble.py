"""From several teachers' raw scores to one target distribution: pure functions on arrays.

T teachers, K candidates of one context. A missing score is NaN.
"""

import numpy as np
from numpy.typing import NDArray

from teachers.config import Normalisation

Array = NDArray[np.float64]


def normalise(
    normalisation: Normalisation, log_likelihood: Array, prior: Array, tokens: Array, num_bytes: Array
) -> Array:
    """One teacher's scores [K] from its raw log-likelihoods, priors (nats), token and byte counts, all [K].

    `mean_log_likelihood` is G2R's choice (§3.2); `pointwise_mutual_information` its variant (§3.2,
    "MI score"), which takes from a response what makes it likely after any context.
    """
    if normalisation == "mean_log_likelihood":
        return log_likelihood / tokens
    if normalisation == "log_likelihood_per_byte":
        return log_likelihood / num_bytes
    return log_likelihood - prior


def z_score(scores: Array) -> Array:
    """`scores` [K] with mean 0 and standard deviation 1; equal scores become zeros."""
    centred = scores - np.nanmean(scores)
    deviation = np.nanstd(scores)
    scaled: Array = centred / deviation if deviation > 1e-12 else np.zeros_like(centred)
    return np.where(np.isnan(scores), np.nan, scaled)


def softmax(scores: Array, temperature: float) -> Array:
    """Probabilities [K] of `scores` [K] divided by `temperature`; a missing score gets 0."""
    scaled = scores / temperature
    exponentials = np.exp(scaled - np.nanmax(scaled))
    exponentials = np.where(np.isnan(exponentials), 0.0, exponentials)
    probabilities: Array = exponentials / exponentials.sum()
    return probabilities


def mean_of_distributions(distributions: Array, weights: Array) -> Array:
    """Weighted mean [K] of target distributions [T, K] by weights [T]."""
    mean: Array = weights @ distributions / weights.sum()
    return mean
