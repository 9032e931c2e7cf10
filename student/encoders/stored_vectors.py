"""Vectors that an encoder has made before in a run, so that a text is embedded once. D dimensions."""

import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from student.encoders.encoder import EncoderSource, Side, student_hash
from student.encoders.packaged import model_location
from teachers.dataset import Rows
from teachers.storage import local_folder, write_atomically

_ROWS_IN_A_GROUP = 4096


class StoredVectors:
    """The vectors of one dense encoder: a Parquet dataset for each side, with a file for each addition.

    They are found by the encoder's weights and by what else they depend on.
    """

    def __init__(self, store: str, source: EncoderSource) -> None:
        with tempfile.TemporaryDirectory(prefix="rejoinder-encoder-") as scratch:
            weights = student_hash(str(local_folder(model_location(source.model), Path(scratch))))
        self._uri = f"{store}/{weights}-{source.max_tokens}-{source.precision}"

    def read(
        self, side: Side, places: Mapping[str, int]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield places [P] and vectors [P, D] of those texts of `places` (text -> place) that are stored."""
        for batch in Rows(f"{self._uri}/{side}").batches():
            texts = batch["text"].to_pylist()
            rows = [row for row, text in enumerate(texts) if text in places]
            vectors = batch["vector"].flatten().to_numpy().reshape(len(texts), -1)
            yield np.array([places[texts[row]] for row in rows], np.int64), vectors[rows]

    def add(self, side: Side, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Store the vectors [N, D] of N texts, of which none is stored."""
        schema = pa.schema([("text", pa.string()), ("vector", pa.list_(pa.float32(), vectors.shape[1]))])
        uri = f"{self._uri}/{side}/{uuid.uuid4().hex}.parquet"
        # Neither dictionaries nor compression make vectors smaller.
        options = {"compression": "none", "use_dictionary": False}

        with write_atomically(uri) as stream, pq.ParquetWriter(stream, schema, **options) as file:
            for start in range(0, len(texts), _ROWS_IN_A_GROUP):
                end = start + _ROWS_IN_A_GROUP
                flat = pa.array(vectors[start:end].ravel(), pa.float32())
                column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
                file.write_table(pa.Table.from_arrays([pa.array(texts[start:end]), column], schema=schema))
