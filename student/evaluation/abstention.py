"""Abstention: when a responder gives no answer, by how unusual the words of the last turn are.

Selective prediction (El-Yaniv and Wiener 2010) measures a system that may abstain by its quality against its
coverage, the share of contexts that it answers. An answer's quality is here whether the system ranks the
human response first among 20 for the same context. The best response's score does not tell what is out of
scope (docs/answers.md). C contexts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3, 0.1)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Confidence:
    """Which turns get an answer, and the probability that one fits as a logistic function of its score."""

    max_cross_entropy: float
    """Of a turn that gets an answer, shrunk, in nats per word, see `WordModel`"""
    slope: float
    intercept: float

    def probability(self, score: float) -> float | None:
        """Return the probability that a system ranks the human response first among 20, by its best score.

        None where the score says nothing about it: one number for every answer only looks like a measure.
        """
        if self.slope == 0:
            return None
        return float(expit(self.slope * score + self.intercept))


def fit_confidence(scores: Floats, hits: Floats, cross_entropies: Floats, coverage: float) -> Confidence:
    """Return the confidence that answers the share `coverage` of these contexts.

    `scores` [C] are of the best response to each context, `hits` [C] its hits@1/20, `cross_entropies` [C]
    of its last turn. The logistic function has the greatest likelihood that does not fall with the score
    (Platt 1999).
    """
    mean, spread = float(scores.mean()), float(scores.std()) or 1.0
    standardised = (scores - mean) / spread
    # As Platt does: so the probabilities of a few contexts, all of them hits, are not 1.
    targets = np.where(hits > 0, (hits.sum() + 1) / (hits.sum() + 2), 1 / ((1 - hits).sum() + 2))

    def loss(parameters: Floats) -> float:
        logits = parameters[0] * standardised + parameters[1]
        return -float(np.mean(targets * log_expit(logits) + (1 - targets) * log_expit(-logits)))

    slope, intercept = minimize(loss, np.zeros(2), bounds=[(0, None), (None, None)]).x
    max_cross_entropy = float(np.quantile(cross_entropies, coverage, method="lower"))
    return Confidence(max_cross_entropy, float(slope / spread), float(intercept - slope * mean / spread))


def quality_by_coverage(cross_entropies: Floats, hits: Floats) -> list[dict[str, float]]:
    """Return `coverage`, `max_cross_entropy` and, of those answered, `hits@1/20`, from all to few."""
    rows = []
    for coverage in _COVERAGES:
        max_cross_entropy = float(np.quantile(cross_entropies, coverage, method="lower"))
        answered = cross_entropies <= max_cross_entropy
        rows.append(
            {
                "coverage": float(answered.mean()),
                "max_cross_entropy": max_cross_entropy,
                "hits@1/20": float(hits[answered].mean()),
            }
        )
    return rows
