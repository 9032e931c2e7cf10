"""The inverted index of a sparse student's responses. B queries, N responses, D terms.

Exact: every response that shares a term with the query is scored. Its files are plain arrays, memory-mapped.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

Scores = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_ARRAYS = ("data", "indices", "indptr")


@dataclass(frozen=True)
class InvertedIndex:
    """Posting lists, with the interface of a DenseIndex."""

    postings: csr_matrix  # [D, N]: row d has the weights of term d in the responses where it is active

    @property
    def ntotal(self) -> int:
        """The number N of responses."""
        return int(self.postings.shape[1])

    def only(self, allowed: Mask) -> Mask:
        """The filter that `search` takes for the allowed rows [N]."""
        return allowed

    def search(self, queries: csr_matrix, k: int, only: Mask | None = None) -> tuple[Scores, Rows]:
        """Inner products [B, k] and rows [B, k] of queries [B, D], best first, ties by the lower row; k <= N.

        A response that shares no term with the query has the score 0 and may fill up places. A place that
        could not be filled has the row -1.
        """
        scores: list[Scores] = []
        rows: list[Rows] = []
        for query in queries:
            # 250,000 responses of 30 terms: 1.0 ms; the product of two sparse matrices would take 2.8 ms.
            query_scores = self.postings[query.indices].T @ query.data
            best_scores, best_rows = _best(query_scores, k, only)
            scores.append(best_scores)
            rows.append(best_rows)

        return np.stack(scores), np.stack(rows)

    def vectors(self, rows: Rows) -> csr_matrix:
        """The vectors [R, D] of rows [R]."""
        return self.postings[:, rows].T.tocsr()


def invert(responses: csr_matrix) -> InvertedIndex:
    """Invert the vectors [N, D] of responses."""
    return InvertedIndex(responses.T.tocsr())


def write_postings(index: InvertedIndex, folder: Path) -> None:
    """Write the posting lists as arrays of NumPy."""
    for name in _ARRAYS:
        np.save(folder / _file(name), getattr(index.postings, name))
    np.save(folder / _file("shape"), np.array(index.postings.shape))


def read_postings(folder: Path) -> InvertedIndex:
    """Read the index of a folder; processes of a machine share its memory.

    Raises:
        ValueError: a file is missing or damaged.
    """
    name = "shape"
    try:
        shape = np.load(folder / _file(name))
        arrays = []
        for name in _ARRAYS:
            arrays.append(np.load(folder / _file(name), mmap_mode="r"))

        postings = csr_matrix(tuple(arrays), shape=tuple(shape), copy=False)
        # A wrong row number would read outside the arrays.
        postings.check_format(full_check=True)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{folder / _file(name)}: expected posting lists ({error})") from error

    return InvertedIndex(postings)


def _file(array: str) -> str:
    return f"postings-{array}.npy"


def _best(scores: Scores, k: int, only: Mask | None) -> tuple[Scores, Rows]:
    """The `k` highest of scores [N] and their rows."""
    if only is not None:
        scores = np.where(only, scores, -np.inf)
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > least)
    rows = np.concatenate([above, np.flatnonzero(scores == least)[: k - len(above)]])
    rows = rows[np.lexsort((rows, -scores[rows]))]
    return scores[rows], np.where(np.isneginf(scores[rows]), -1, rows)
