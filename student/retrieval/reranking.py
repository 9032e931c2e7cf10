"""Re-ranking: the best responses of a student, ranked anew by another encoder, too. N responses."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from student.encoders.encoder import EncoderSource

Scores = NDArray[np.float32]

_TINY = 1e-30  # avoids a division by 0


@dataclass(frozen=True)
class Reranked:
    """A dense student and another dense encoder, which ranks the best responses anew beside it."""

    student: EncoderSource
    reranker: EncoderSource
    depth: int
    """How many of the student's best"""


Ranker: TypeAlias = EncoderSource | Reranked


def encoders_of(ranker: Ranker) -> tuple[EncoderSource, ...]:
    """Return the encoders, the student first."""
    return (ranker.student, ranker.reranker) if isinstance(ranker, Reranked) else (ranker,)


def reranked(scores: Scores, similarities: Scores, depth: int, num_responses: int | None = None) -> Scores:
    """Return scores [N] in which the `depth` best of a student have those of another encoder added.

    `scores` [N] are the student's and `similarities` [N] the other's. These are added in the deviations of
    the student's best, so that both count alike, and the sums are on the scale of its scores. The others come
    after them, in their order. Only the first `num_responses` can be answered: what comes after them is
    scored as if it were one of them, and changes nothing in their scores.
    """
    answerable = scores[:num_responses]
    least = np.partition(answerable, -depth)[-depth] if depth < len(answerable) else answerable.min()
    best = answerable >= least
    best_similarities = similarities[:num_responses][best]

    deviations = (similarities - best_similarities.mean()) / max(float(best_similarities.std()), _TINY)
    sums = scores + answerable[best].std() * deviations
    shift = sums[:num_responses][best].min() - least
    result: Scores = np.where(scores >= least, sums, scores + shift).astype(np.float32)
    return result
