"""The vectors of responses whose encoder is not trained: each is encoded once, not at every step."""

from collections.abc import Callable, Sequence

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from student.encoders.encoder import Vectors

_MOST = 100_000


class FrozenResponses:
    """Vectors by text; of more than `most` those that were not asked for longest are forgotten."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._known: dict[str, Tensor] = {}

    def know(self, texts: Sequence[str], vectors: Vectors, device: torch.device) -> None:
        """Takes the vectors [N, D] of `texts` as what the encoder would make of them."""
        for place, text in enumerate(texts):
            row = vectors[place]
            numbers = row.toarray()[0] if isinstance(row, csr_matrix) else row
            self._known[text] = _kept(torch.tensor(numbers, dtype=torch.float32, device=device))

    def vectors(self, texts: Sequence[str], encode: Callable[[list[str]], Tensor]) -> Tensor:
        """The vectors [N, D] of distinct `texts`; those that are not known are what `encode` makes of them.

        Workers that ask for the same texts in the same order know the same, so that `encode` may be a
        collective operation.
        """
        unknown = [text for text in texts if text not in self._known]
        if unknown:
            vectors = zip(unknown, encode(unknown), strict=True)
            self._known |= {text: _kept(vector) for text, vector in vectors}
        found = []
        for text in texts:
            vector = self._known.pop(text)
            self._known[text] = vector
            found.append(vector.to_dense())
        while len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        return torch.stack(found)


def _kept(vector: Tensor) -> Tensor:
    """Without its zeros, where it is mostly zeros."""
    is_sparse = 2 * vector.count_nonzero() < len(vector)
    return vector.to_sparse() if is_sparse else vector.clone()
