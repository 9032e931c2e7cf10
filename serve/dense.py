"""The index of a dense student's responses, by FAISS. B queries, N responses, D dimensions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss as typed_faiss
import numpy as np
import numpy.typing as npt

from serve.config import DenseKind, IndexConfig

faiss: Any = typed_faiss  # its annotations follow the C++ signatures
FILE = "index.faiss"
Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Up to this size exact search takes little time beside the encoder; see docs/performance.md.
_LARGEST_EXACT = 50_000


@dataclass(frozen=True)
class DenseIndex:
    """Vectors of length one, searched exactly, by a graph, or by a graph over vectors of 8 bits."""

    index: Any  # faiss.Index

    @property
    def ntotal(self) -> int:
        """The number N of responses."""
        return int(self.index.ntotal)

    def only(self, allowed: Mask) -> Any:
        """The filter that `search` takes for the allowed rows [N]."""
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if isinstance(self.index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(sel=selector, efSearch=self.index.hnsw.efSearch)
        return faiss.SearchParameters(sel=selector)

    def search(self, queries: Matrix, k: int, only: Any = None) -> tuple[Matrix, Rows]:
        """Inner products [B, k] and rows [B, k] of queries [B, D], best first; k <= N.

        A place that could not be filled has the row -1.
        """
        scores, rows = self.index.search(queries, k, params=only)
        return scores, rows

    def vectors(self, rows: Rows) -> Matrix:
        """The vectors [R, D] of rows [R], as near as the index keeps them."""
        vectors: Matrix = self.index.reconstruct_batch(rows)
        return vectors


def choose_kind(config: IndexConfig, num_responses: int) -> DenseKind:
    """The kind of an index of `num_responses` responses."""
    if config.kind != "auto":
        return config.kind
    return "exact" if num_responses <= _LARGEST_EXACT else "hnsw"


def write_dense(vectors: Matrix, kind: DenseKind, config: IndexConfig, folder: Path) -> None:
    """Write the index of vectors [N, D]."""
    dimensions, links = vectors.shape[1], config.hnsw_neighbours
    index: Any

    if kind == "exact":
        index = faiss.IndexFlatIP(dimensions)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(dimensions, links, faiss.METRIC_INNER_PRODUCT)
    else:
        index = faiss.IndexHNSWSQ(
            dimensions, faiss.ScalarQuantizer.QT_8bit, links, faiss.METRIC_INNER_PRODUCT
        )
    if kind != "exact":
        index.hnsw.efSearch = config.hnsw_ef_search

    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(folder / FILE))


def read_dense(folder: Path) -> DenseIndex:
    """Read the index of a folder; processes of a machine share the memory of its vectors.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        return DenseIndex(faiss.read_index(str(folder / FILE), faiss.IO_FLAG_MMAP_IFC))
    except RuntimeError as error:  # FAISS raises it for every failure
        raise ValueError(f"{folder / FILE}: expected a FAISS index ({error})") from error
