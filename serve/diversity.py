"""Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998). N candidates."""

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]


def maximal_marginal_relevance(
    scores: Scores, similarities: Scores, k: int, diversity: float
) -> npt.NDArray[np.int64]:
    """Rows [k] of the chosen candidates, in the order in which they were chosen.

    Each step chooses the candidate with the highest (1 - diversity) * score - diversity * (its highest
    similarity to those already chosen). `scores` [N] are inner products with the context, `similarities`
    [N, N] with each other; `diversity` 0 keeps the order of the scores.
    """
    chosen: list[int] = []
    nearest = np.zeros(len(scores), dtype=np.float32)
    remaining = np.ones(len(scores), dtype=bool)

    for _ in range(min(k, len(scores))):
        marginal = np.where(remaining, (1 - diversity) * scores - diversity * nearest, -np.inf)
        best = int(np.argmax(marginal))
        chosen.append(best)
        remaining[best] = False
        nearest = similarities[best] if len(chosen) == 1 else np.maximum(nearest, similarities[best])

    return np.array(chosen, dtype=np.int64)
