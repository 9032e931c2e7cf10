"""Retrieved candidates: the training replies nearest to each training context, by a frozen retriever.

Not by the student: another student would otherwise have other candidates, and the teachers to score them.
"""

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from student.encoder import EncoderSource, Tally, Vectors, texts_to_vectors
from student.text import context_text
from teachers.records import NEIGHBOURS, Rows, write_rows

_CONTEXTS_PER_SEARCH = 1024
_REPLIES_PER_SEARCH = 32_768


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
    replies = list(dict.fromkeys(row["reply"] for row in Rows(examples_uri, "train")))
    vectors = texts_to_vectors({"context": contexts, "response": replies}, retriever, tally)

    def rows() -> Iterator[dict[str, Any]]:
        # Replies that differ in case only stand for the same text: look a little further than k.
        found = _nearest(vectors["context"], vectors["response"], 2 * k + 2)
        for example, nearest in zip(Rows(examples_uri, "train"), found, strict=True):
            own = example["reply"].casefold()
            texts = [replies[i] for i in nearest if i >= 0 and replies[i].casefold() != own]
            yield {"example_id": example["example_id"], "replies": texts[:k]}

    return {"contexts": write_rows(output_uri, rows(), NEIGHBOURS), "replies": len(replies)}


def _nearest(queries: Vectors, searched: Vectors, k: int) -> Iterator[NDArray[np.int64]]:
    """For each of `queries` [N, D] the rows of the `k` nearest of `searched`, best first; -1: none is left.

    Block by block of both, which lie in files: no index of all is held.
    """
    for start in range(0, len(queries), _CONTEXTS_PER_SEARCH):
        some = queries[start : start + _CONTEXTS_PER_SEARCH]
        scores = np.full((len(some), k), -np.inf, np.float32)
        rows = np.full((len(some), k), -1, np.int64)
        for block in range(0, len(searched), _REPLIES_PER_SEARCH):
            some_scores, some_rows = faiss.knn(
                some, searched[block : block + _REPLIES_PER_SEARCH], k, faiss.METRIC_INNER_PRODUCT
            )
            some_rows = np.where(some_rows >= 0, some_rows + block, -1)
            scores, rows = np.hstack([scores, some_scores]), np.hstack([rows, some_rows])
            best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores = np.take_along_axis(scores, best, axis=1)
            rows = np.take_along_axis(rows, best, axis=1)
        yield from rows
