"""Exact nearest neighbours by inner product, block by block.

Q queries, N searched vectors, D dimensions.
"""

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from student.encoders.encoder import Vectors, inner_products

_QUERIES_PER_SEARCH = 1024
_ROWS_PER_SEARCH = 32_768

Ranking = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows of the searched vectors, best first, and their scores, both [k]; row -1 is none."""


def nearest(queries: Vectors, searched: Vectors, k: int) -> Iterator[Ranking]:
    """Yield for each of `queries` [Q, D] the rows of the `k` nearest of `searched` [N, D] and their scores.

    Both arrays are [k], best first; scores are inner products. Where there are fewer than `k`, rows are -1.
    Both sides are read in blocks: dense vectors lie in mapped files, and no index of them all is held.
    """
    for start in range(0, queries.shape[0], _QUERIES_PER_SEARCH):
        query_block = queries[start : start + _QUERIES_PER_SEARCH]
        scores = np.full((query_block.shape[0], k), -np.inf, np.float32)
        rows = np.full((query_block.shape[0], k), -1, np.int64)

        for offset in range(0, searched.shape[0], _ROWS_PER_SEARCH):
            block_scores, block_rows = _nearest_in_block(
                query_block, searched[offset : offset + _ROWS_PER_SEARCH], k
            )
            block_rows = np.where(block_rows >= 0, block_rows + offset, -1)
            scores, rows = np.hstack([scores, block_scores]), np.hstack([rows, block_rows])

            best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores = np.take_along_axis(scores, best, axis=1)
            rows = np.take_along_axis(rows, best, axis=1)

        yield from zip(rows, scores, strict=True)


def _nearest_in_block(
    queries: Vectors, searched: Vectors, k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scores and rows, both [Q, up to k], in any order; row -1 where there are no more."""
    if not isinstance(queries, csr_matrix):
        return faiss.knn(queries, searched, k, faiss.METRIC_INNER_PRODUCT)

    scores = inner_products(queries, searched)
    num_kept = min(k, scores.shape[1])
    rows = np.argpartition(-scores, num_kept - 1, axis=1)[:, :num_kept]
    kept_scores = np.take_along_axis(scores, rows, axis=1)
    # A document without a term in common with the query is no result.
    return kept_scores, np.where(kept_scores > 0, rows, -1)
