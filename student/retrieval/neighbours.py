"""Retrieved candidates: the training replies nearest to each training context, by a frozen retriever.

Not by the student: another student would otherwise have other candidates, and the teachers to score them.
"""

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from student.encoders.encoder import EncoderSource, Tally, Vectors, inner_products, texts_to_vectors
from student.text import context_text
from teachers.dataset import Rows, write_rows
from teachers.records import NEIGHBOURS

_QUERIES_PER_SEARCH = 1024
_ROWS_PER_SEARCH = 32_768


def write_neighbours(
    examples_uri: str, output_uri: str, retriever: EncoderSource, context_turns: int, k: int, tally: Tally
) -> dict[str, int]:
    """Writes NEIGHBOURS: the `k` nearest distinct replies to each training context, not its own.

    `retriever` is dense.

    Raises:
        ValueError: there is no training example.
    """
    contexts = [context_text(row["context"], context_turns) for row in Rows(examples_uri, "train")]
    if not contexts:
        raise ValueError(f"{examples_uri}: no training examples")
    replies = list(dict.fromkeys(row["gold_response"] for row in Rows(examples_uri, "train")))
    vectors = texts_to_vectors({"context": contexts, "response": replies}, retriever, tally)

    def rows() -> Iterator[dict[str, Any]]:
        # Replies that differ in case only stand for the same text: look a little further than k.
        found = nearest(vectors["context"], vectors["response"], 2 * k + 2)
        for example, (places, _) in zip(Rows(examples_uri, "train"), found, strict=True):
            own = example["gold_response"].casefold()
            texts = [replies[i] for i in places if i >= 0 and replies[i].casefold() != own]
            yield {"example_id": example["example_id"], "responses": texts[:k]}

    return {"contexts": write_rows(output_uri, rows(), NEIGHBOURS), "responses": len(replies)}


def nearest(
    queries: Vectors, searched: Vectors, k: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """For each of `queries` [N, D] the rows of the `k` nearest of `searched`, best first, and their inner
    products, both [k]; where fewer are left, the others are row -1.

    Block by block of both, which lie in files where they are dense: no index of all is held.
    """
    for start in range(0, queries.shape[0], _QUERIES_PER_SEARCH):
        some = queries[start : start + _QUERIES_PER_SEARCH]
        scores = np.full((some.shape[0], k), -np.inf, np.float32)
        rows = np.full((some.shape[0], k), -1, np.int64)
        for block in range(0, searched.shape[0], _ROWS_PER_SEARCH):
            some_scores, some_rows = _nearest_of(some, searched[block : block + _ROWS_PER_SEARCH], k)
            some_rows = np.where(some_rows >= 0, some_rows + block, -1)
            scores, rows = np.hstack([scores, some_scores]), np.hstack([rows, some_rows])
            best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores = np.take_along_axis(scores, best, axis=1)
            rows = np.take_along_axis(rows, best, axis=1)
        yield from zip(rows, scores, strict=True)


def _nearest_of(queries: Vectors, searched: Vectors, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Inner products and rows, both [N, up to k], of the nearest; in any order, row -1 where none is left."""
    if not isinstance(queries, csr_matrix):
        return faiss.knn(queries, searched, k, faiss.METRIC_INNER_PRODUCT)
    scores = inner_products(queries, searched)
    kept = min(k, scores.shape[1])
    rows = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
    found = np.take_along_axis(scores, rows, axis=1)
    # Without a term in common there is nothing found.
    return found, np.where(found > 0, rows, -1)
