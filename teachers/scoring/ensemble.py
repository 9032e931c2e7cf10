"""Target distributions out of several teachers' raw scores: pure functions on arrays.

T teachers, K candidates of one context, C contexts. A missing score is NaN. Candidate 0 is the gold
response; nothing but the fits to it and `gold_cross_entropy` relies on that.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, brentq, minimize, minimize_scalar
from scipy.special import entr, log_softmax
from scipy.special import softmax as softmax_of_last_axis
from scipy.stats import rankdata

from teachers.scoring.config import Combination, Normalisation, Scale

Array = NDArray[np.float64]

FITTED_TEMPERATURES = (0.01, 100.0)
"""Bounds of fitted temperatures."""

# Cormack et al. (2009) fixed 60 on one collection, and found that it hardly matters elsewhere.
_RANK_OFFSET = 60
# Logits within ±5 keep a fitted weight above e^-10 of the largest: no teacher is ever switched off.
_LARGEST_LOGIT = 5.0


def normalise(
    normalisation: Normalisation, log_likelihood: Array, prior: Array, tokens: Array, num_bytes: Array
) -> Array:
    """Return one teacher's scores [K] from its log-likelihoods, priors (nats), token and byte counts [K].

    `mean_log_likelihood` is G2R's choice (§3.2); `pointwise_mutual_information` its variant (§3.2,
    "MI score"), which discounts a response that is likely after any context.
    """
    if normalisation == "mean_log_likelihood":
        return log_likelihood / tokens
    if normalisation == "log_likelihood_per_byte":
        return log_likelihood / num_bytes
    return log_likelihood - prior


def has_score(scores: Array) -> NDArray[np.bool_]:
    """Return a mask [K] of the candidates that a teacher scored, out of `scores` [T, K]."""
    mask: NDArray[np.bool_] = np.any(~np.isnan(scores), axis=0)
    return mask


def z_score(scores: Array, deviation: float | None = None) -> Array:
    """Return `scores` [K] with mean 0, in units of `deviation`, or else of their own standard deviation.

    Equal scores become zeros, NaN stays NaN.
    """
    if np.isnan(scores).all():
        return scores
    centred = scores - np.nanmean(scores)
    if deviation is None:
        deviation = float(np.nanstd(scores))
    scaled: Array = centred / deviation if deviation > 1e-12 else 0.0 * centred
    return scaled


def mean_deviation(scores: list[Array]) -> float:
    """Return the mean standard deviation within a context of one teacher's scores, C arrays [K].

    Contexts that the teacher did not score do not count; NaN where it scored none.
    """
    deviations: list[float] = []
    for row in scores:
        if not np.isnan(row).all():
            deviations.append(float(np.nanstd(row)))
    return float(np.mean(deviations)) if deviations else float("nan")


def scale_scores(scores: Array, scale: Scale, deviations: Array) -> Array:
    """Return normalised scores [T, K] as the softmax gets them.

    - `context`: z-scores within the context; a teacher is as sure of every context.
    - `teacher`: centred, over the teacher's own of `deviations` [T], see `mean_deviation`; it stays less sure
      of a context in which its scores lie close together.
    - `none`: as they are.
    """
    if scale == "none":
        return scores
    if scale == "context":
        return np.stack([z_score(row) for row in scores])
    return np.stack([z_score(row, deviation) for row, deviation in zip(scores, deviations, strict=True)])


def fill_missing(
    scores: Array, missing: Literal["neutral", "lowest", "leave_out"]
) -> tuple[Array, NDArray[np.bool_]]:
    """Return `scores` [T', K] without NaN, of the teachers that stay, and a mask [T] of these teachers.

    A teacher's missing score becomes its mean over the context (`neutral`) or its lowest (`lowest`), or
    the teacher goes (`leave_out`). A teacher without any score always goes.
    """
    is_scored = ~np.isnan(scores)
    kept: NDArray[np.bool_] = (np.all if missing == "leave_out" else np.any)(is_scored, axis=1)
    staying = scores[kept]
    replacement = np.nanmin if missing == "lowest" else np.nanmean
    return np.where(is_scored[kept], staying, replacement(staying, axis=1, keepdims=True)), kept


def softmax(scores: Array, temperature: float | Array) -> Array:
    """Probabilities of `scores` [..., K] divided by `temperature`; they do not overflow."""
    probabilities: Array = softmax_of_last_axis(scores / temperature, axis=-1)
    return probabilities


def entropy(distribution: Array) -> float:
    """Entropy of `distribution` [K] in nats, from 0 to log K."""
    return float(entr(distribution).sum())


def gold_cross_entropy(distributions: list[Array]) -> float:
    """Mean −log probability of candidate 0 over C distributions [K], in nats.

    A probability that underflowed counts as the smallest there is, 708 nats.
    """
    gold = np.array([distribution[0] for distribution in distributions])
    return float(-np.log(np.maximum(gold, np.finfo(np.float64).tiny)).mean())


def combine(scores: Array, temperatures: Array, weights: Array, combination: Combination) -> Array:
    """Target distribution [K] out of `scores` [T, K] by `temperatures` [T] and `weights` [T].

    Scores are not NaN, temperatures positive, weights not negative and not all 0. Only
    `product_of_experts` depends on the sum of the weights.

    - `mean_of_distributions`: weighted mean of the teachers' softmaxes.
    - `mean_of_scores`: softmax of the weighted mean of the scores over their temperatures.
    - `product_of_experts`: product of the softmaxes to the power of their weights, renormalised (Hinton
      2002). It is `mean_of_scores`, sharper by the sum of the weights: equal to it where that is 1.
    - `reciprocal_rank_fusion`: each candidate gets the sum of weight / (60 + rank) (Cormack et al. 2009;
      ties share the mean of their ranks). Those sums lie within a thousandth of each other, so they
      are z-scored and softened by the weighted mean of the temperatures.
    - `max`: the largest of the weighted softmaxes, renormalised.
    """
    shares = weights / weights.sum()
    scaled = scores / temperatures[:, None]

    if combination == "mean_of_distributions":
        mean: Array = shares @ softmax(scaled, 1.0)
        return mean
    if combination == "mean_of_scores":
        return softmax(shares @ scaled, 1.0)
    if combination == "product_of_experts":
        return softmax(weights @ log_softmax(scaled, axis=-1), 1.0)
    if combination == "reciprocal_rank_fusion":
        ranks = rankdata(-scores, method="average", axis=-1)
        return softmax(z_score(shares @ (1 / (_RANK_OFFSET + ranks))), float(shares @ temperatures))

    largest = (shares[:, None] * softmax(scaled, 1.0)).max(axis=0)
    renormalised: Array = largest / largest.sum()
    return renormalised


def fit_temperature_to_entropy(scores: list[Array], target_entropy: float) -> float:
    """Return the temperature at which C `scores` [K] have a mean softmax entropy of `target_entropy` nats.

    The mean entropy rises with the temperature. Where even the lowest temperature gives more, since
    the best scores (nearly) tie, that is returned.

    Raises:
        ValueError: even the highest temperature gives less: the mean entropy is always below log K.
    """

    padded = _padded(scores)

    def excess(log_temperature: float) -> float:
        entropies = entr(softmax(padded, np.exp(log_temperature))).sum(axis=-1)
        return float(entropies.mean()) - target_entropy

    lowest, highest = np.log(FITTED_TEMPERATURES)
    if excess(highest) < 0:
        raise ValueError(
            f"targets.entropy = {target_entropy} nats is out of reach: at temperature "
            f"{FITTED_TEMPERATURES[1]:g}, {len(scores)} contexts have {target_entropy + excess(highest):.3f}"
        )

    if excess(lowest) > 0:
        return FITTED_TEMPERATURES[0]
    return float(np.exp(brentq(excess, lowest, highest)))


def fit_temperature_to_gold(scores: list[Array]) -> float:
    """Return the temperature at which the softmaxes of C `scores` [K] have the least mean −log p(gold).

    Temperature scaling (Guo et al. 2017, §4.2). It runs towards the lower end of `FITTED_TEMPERATURES` where
    the gold response always scores best, and to the upper where it does no better than chance.
    """

    padded = _padded(scores)

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(padded / np.exp(log_temperature), axis=-1)[:, 0].mean())

    # The loss is convex in 1 / temperature: a minimum here is the only one.
    minimum = minimize_scalar(loss, bounds=np.log(FITTED_TEMPERATURES), method="bounded")
    return float(np.exp(minimum.x))


def _padded(scores: list[Array]) -> Array:
    """Return C `scores` [K] as one array [C, largest K], padded with −inf, which gets no probability."""
    padded = np.full((len(scores), max(map(len, scores))), -np.inf)
    for row, values in zip(padded, scores, strict=True):
        row[: len(values)] = values
    return padded


def fit_weights(scores: list[Array], temperatures: Array, combination: Combination) -> Array:
    """Return the weights [T], which sum to one, at which `combine` gives the least mean −log p(gold).

    `scores` are C arrays [T, K] without NaN. The minimum is the global one for `mean_of_distributions`,
    `mean_of_scores` and `product_of_experts`, whose loss is convex in the weights; for the others it
    is the one that a search from equal weights reaches.
    """

    def loss(logits: Array) -> float:
        weights = softmax(logits, 1.0)
        return gold_cross_entropy([combine(rows, temperatures, weights, combination) for rows in scores])

    equal = np.zeros(len(temperatures))
    minimum = minimize(loss, equal, method="L-BFGS-B", bounds=Bounds(-_LARGEST_LOGIT, _LARGEST_LOGIT))
    return softmax(minimum.x, 1.0)
