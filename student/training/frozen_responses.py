"""Cached vectors of responses with a frozen encoder: each is encoded once, not at every step."""

from collections.abc import Callable, Sequence

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from student.encoders.encoder import Vectors

_MAX_TEXTS = 100_000


class FrozenResponses:
    """Cache of vectors by text; of more than `max_texts`, the least recently used are dropped."""

    def __init__(self, max_texts: int = _MAX_TEXTS) -> None:
        self._max_texts = max_texts
        self._vectors: dict[str, Tensor] = {}

    def add(self, texts: Sequence[str], vectors: Vectors, device: torch.device) -> None:
        """Add the vectors [N, D] of `texts`, computed by the same encoder."""
        for place, text in enumerate(texts):
            row = vectors[place]
            numbers = row.toarray()[0] if isinstance(row, csr_matrix) else row
            self._vectors[text] = _compact(torch.tensor(numbers, dtype=torch.float32, device=device))

    def vectors(self, texts: Sequence[str], encode: Callable[[list[str]], Tensor]) -> Tensor:
        """Return the vectors [N, D] of distinct `texts`; `encode` makes the missing ones.

        Workers that request the same texts in the same order have the same cache, so `encode` may be a
        collective operation.
        """
        missing = [text for text in texts if text not in self._vectors]
        if missing:
            for text, vector in zip(missing, encode(missing), strict=True):
                self._vectors[text] = _compact(vector)

        rows: list[Tensor] = []
        for text in texts:
            vector = self._vectors.pop(text)
            self._vectors[text] = vector  # now the most recently used
            rows.append(vector.to_dense())

        while len(self._vectors) > self._max_texts:
            del self._vectors[next(iter(self._vectors))]
        return torch.stack(rows)


def _compact(vector: Tensor) -> Tensor:
    """Return the vector, as a sparse tensor if most of it is zeros."""
    is_sparse = 2 * vector.count_nonzero() < len(vector)
    return vector.to_sparse() if is_sparse else vector.clone()
