"""The vectors of responses whose encoder is not trained: each is encoded once, not at every step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_MOST = 100_000


class FrozenResponses:
    """Vectors by text; of more than `most` those that were not asked for longest are forgotten."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._known: dict[str, Tensor] = {}

    def vectors(self, texts: Sequence[str], encode: Callable[[list[str]], Tensor]) -> Tensor:
        """The vectors [N, D] of distinct `texts`; those that are not known are what `encode` makes of them.

        Workers that ask for the same texts in the same order know the same, so that `encode` may be a
        collective operation.
        """
        unknown = [text for text in texts if text not in self._known]
        if unknown:
            # Sparse ones are mostly zeros, and are kept without them.
            self._known |= {
                text: vector.to_sparse() if _is_sparse(vector) else vector.clone()
                for text, vector in zip(unknown, encode(unknown), strict=True)
            }
        found = []
        for text in texts:
            vector = self._known.pop(text)
            self._known[text] = vector
            found.append(vector.to_dense())
        while len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        return torch.stack(found)


def _is_sparse(vector: Tensor) -> bool:
    return bool(2 * vector.count_nonzero() < len(vector))
