"""The responses that can be retrieved: those of the index, and the added ones that it lacks.

N responses of the index, rows from N on are added ones. D dimensions of the student, R of the re-ranker.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
from scipy.sparse import csr_matrix

from serve.changes import Changes
from serve.encoders import Encoders, TextEncoder
from serve.index import Index
from serve.inverted import Rows, Scores
from student.encoders.encoder import Side, Vectors, inner_products
from student.retrieval.reranking import reranked

_TINY = 1e-30  # avoids a division by 0


@dataclass(frozen=True)
class ScoredResponse:
    """A response of the response set and its score."""

    response_id: str
    text: str
    score: float
    """Its inner product with the context; a re-ranked one's is of `reranked`"""
    source: str  # gold, generated or added
    teacher: str | None  # of a generated response


@dataclass(frozen=True)
class Query:
    """A context, encoded."""

    vector: Vectors
    """[1, D], by the student"""
    reranker_vector: npt.NDArray[np.float32] | None
    """[R]; None without a re-ranker"""


class ResponseRows:
    """Searches the rows, and tells what is in them."""

    def __init__(self, index: Index, encoders: Encoders, changes: Changes) -> None:
        self._index = index
        self._encoders = encoders
        self._num_indexed = index.vectors.ntotal
        self._added: list[ScoredResponse] = []
        self._encode_added()
        self._take(changes)

    def changed(self, changes: Changes) -> "ResponseRows":
        """The same responses with other changes."""
        rows = copy(self)
        rows._take(changes)
        return rows

    def _take(self, changes: Changes) -> None:
        self.changes = changes
        self._filters: dict[frozenset[str], Any] = {}
        ids = self._index.responses["response_id"]
        self._present = ~np.asarray(pa.compute.is_in(ids, pa.array(sorted(changes.withdrawn), pa.string())))

        indexed = set(ids.filter(pa.compute.is_in(ids, pa.array([*changes.added], pa.string()))).to_pylist())
        self.unindexed = {id: text for id, text in changes.added.items() if id not in indexed}
        """Response id -> text of the added responses that the index lacks, withdrawn ones included."""

        added: list[ScoredResponse] = []
        for response_id, text in self.unindexed.items():
            if response_id not in changes.withdrawn:
                added.append(ScoredResponse(response_id, text, 0.0, "added", None))

        # A reviewer's approvals come one by one: they encode nothing again.
        if added != self._added:
            self._added = added
            self._encode_added()

    def _encode_added(self) -> None:
        texts, metadata = [response.text for response in self._added], self._index.metadata
        self._added_vectors = vectors_of_texts(
            self._encoders.student, texts, "response", metadata["dimensions"]
        )
        if self._encoders.reranker is not None:
            dimensions = metadata["reranker"]["dimensions"]
            self._added_reranker_vectors = vectors_of_texts(
                self._encoders.reranker, texts, "response", dimensions
            )

    @property
    def num_present(self) -> int:
        """The number of responses that can be retrieved."""
        return int(self._present.sum()) + len(self._added)

    def search(self, query: Query, k: int, sources: frozenset[str]) -> tuple[Scores, Rows]:
        """Scores and rows [up to k], best first; the student's best are in the order of both encoders."""
        if query.reranker_vector is None:
            return self.nearest(query.vector, k, sources)

        depth = self._index.metadata["reranker"]["depth"]
        scores, rows = self.nearest(query.vector, max(k, depth), sources)
        if len(rows):
            scores = reranked(scores, self._reranker_vectors(rows) @ query.reranker_vector, depth)
        best = np.lexsort((rows, -scores))[:k]
        return scores[best], rows[best]

    def nearest(self, vector: Vectors, k: int, sources: frozenset[str] | None) -> tuple[Scores, Rows]:
        """Inner products with a vector [1, D] and rows [up to k], best first, ties by the lower row.

        Without `sources` every response is searched, withdrawn ones of the index included.
        """
        size = self._num_indexed
        only = None if sources is None else self._only(sources)
        score_matrix, row_matrix = self._index.vectors.search(vector, min(k, size), only)
        filled = row_matrix[0] >= 0
        scores, rows = score_matrix[0][filled], row_matrix[0][filled]

        if self._added and (sources is None or "added" in sources):
            scores = np.concatenate([scores, inner_products(vector, self._added_vectors)[0]])
            rows = np.concatenate([rows, size + np.arange(len(self._added))])
            best = np.lexsort((rows, -scores))[:k]
            scores, rows = scores[best], rows[best]
        return scores, rows

    def _only(self, sources: frozenset[str]) -> Any:
        """The index's filter for these sources; None where it would allow every row."""
        if sources not in self._filters:
            has_source = pa.compute.is_in(self._index.responses["source"], pa.array(sorted(sources)))
            allowed = self._present & np.asarray(has_source)
            self._filters[sources] = None if allowed.all() else self._index.vectors.only(allowed)
        return self._filters[sources]

    def unit_vectors(self, rows: Rows) -> npt.NDArray[np.float32]:
        """The student's vectors [P, D] of rows [P], of length one."""
        indexed = rows < self._num_indexed
        vectors = np.zeros((len(rows), self._index.metadata["dimensions"]), dtype=np.float32)
        vectors[indexed] = dense(self._index.vectors.vectors(rows[indexed]))
        vectors[~indexed] = dense(self._added_vectors[rows[~indexed] - self._num_indexed])
        return of_unit_length(vectors)

    def _reranker_vectors(self, rows: Rows) -> npt.NDArray[np.float32]:
        """The re-ranker's vectors [P, R] of rows [P]."""
        indexed = rows < self._num_indexed
        vectors = np.zeros((len(rows), self._index.metadata["reranker"]["dimensions"]), np.float32)
        if self._index.reranker_vectors is not None:
            vectors[indexed] = self._index.reranker_vectors[rows[indexed]]
        vectors[~indexed] = self._added_reranker_vectors[rows[~indexed] - self._num_indexed]
        return vectors

    def text_at(self, row: int) -> str:
        """The text of a row."""
        if row >= self._num_indexed:
            return self._added[row - self._num_indexed].text
        text: str = self._index.responses["text"][int(row)].as_py()
        return text

    def response_at(self, row: int, score: float) -> ScoredResponse:
        """The response of a row, with a score."""
        if row >= self._num_indexed:
            return replace(self._added[row - self._num_indexed], score=float(score))
        return ScoredResponse(score=float(score), **self._index.responses.slice(row, 1).to_pylist()[0])


def vectors_of_texts(encoder: TextEncoder, texts: Sequence[str], side: Side, dimensions: int) -> Vectors:
    """The vectors [T, D] of T texts, which may be none."""
    if not texts:
        return np.zeros((0, dimensions), dtype=np.float32)
    return encoder.encode(encoder.tokenise(texts, side), side)


def dense(vectors: Vectors) -> npt.NDArray[np.float32]:
    """The same vectors as an array."""
    array: npt.NDArray[np.float32] = vectors.toarray() if isinstance(vectors, csr_matrix) else vectors
    return array


def of_unit_length(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The vectors [P, D], each divided by its length."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = vectors / np.maximum(lengths, _TINY)
    return unit
