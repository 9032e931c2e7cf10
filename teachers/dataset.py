"""Datasets: folders of Parquet files, here or in an object store, read a few rows at a time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from teachers.storage import open_uri, write_atomically

# Some megabytes of conversations; larger groups compress no better, and whoever reads holds one.
_ROWS_IN_A_GROUP = 4096
_ROWS_AT_A_TIME = 512


class Rows:
    """The rows of a Parquet dataset in the order in which they were written; an absent one has none.

    Each iteration reads them again, a few at a time: none is kept in memory.
    """

    def __init__(self, uri: str, split: str | None = None) -> None:
        """Read one `split` only, if it is named."""
        self.uri = uri
        self._split = split

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches():
            yield from batch.to_pylist()

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows, or some of their columns, as Arrow batches of some hundred rows."""
        filesystem, path = open_uri(self.uri)
        for file in _parquet_files(filesystem, path):
            with filesystem.open_input_file(file) as stream:
                # Not pre-buffered, which keeps what was read until the whole file is.
                for batch in pq.ParquetFile(stream, pre_buffer=False).iter_batches(
                    _ROWS_AT_A_TIME, columns=columns
                ):
                    if self._split is not None:
                        batch = batch.filter(pc.equal(batch["split"], self._split))
                    yield batch


class AlignedReader:
    """Rows of a dataset that belong to rows of another one, by the id in `column` and in the same order."""

    def __init__(self, uri: str, column: str = "example_id") -> None:
        self._uri, self._column, self._rows = uri, column, iter(Rows(uri))
        self._next = next(self._rows, None)

    def row_for(self, row_id: str) -> dict[str, Any] | None:
        """The row with this id; None where the other dataset's row has none here."""
        row = self._next
        if row is None or row[self._column] != row_id:
            return None

        self._next = next(self._rows, None)
        return row

    def check_end(self) -> None:
        """Raise ValueError where a row remains: its id is unknown to the other dataset, or out of order."""
        if self._next is not None:
            raise ValueError(
                f"{self._uri}: the row {self._next[self._column]!r} belongs to no row of the other dataset, "
                "or is out of order"
            )


def _parquet_files(filesystem: pyarrow.fs.FileSystem, path: str) -> list[str]:
    if filesystem.get_file_info(path).type == pyarrow.fs.FileType.File:
        return [path]

    selector = pyarrow.fs.FileSelector(path, allow_not_found=True)
    files = [info.path for info in filesystem.get_file_info(selector) if info.extension == "parquet"]
    return sorted(file for file in files if not file.rpartition("/")[2].startswith("."))


def read_rows(uri: str, split: str | None = None) -> list[dict[str, Any]]:
    """Return all rows of a Parquet dataset, or those of one split; an absent dataset has none."""
    return list(Rows(uri, split))


def write_rows(uri: str, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Replace a dataset by one Parquet file with the rows; return their number."""
    with rows_to(uri, schema) as writer:
        for row in rows:
            writer.write(row)
    return writer.num_rows


@contextmanager
def rows_to(uri: str, schema: pa.Schema) -> Iterator["RowWriter"]:
    """Yield a writer of the dataset's rows; the dataset is replaced once the body ends without an error."""
    with write_atomically(f"{uri}/part-0.parquet") as stream, pq.ParquetWriter(stream, schema) as file:
        writer = RowWriter(file, schema)
        yield writer
        writer.flush()


class RowWriter:
    """Writer of rows into a Parquet file, a row group at a time."""

    def __init__(self, file: pq.ParquetWriter, schema: pa.Schema) -> None:
        self.num_rows = 0
        self._file, self._schema = file, schema
        self._waiting: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        self.num_rows += 1
        self._waiting.append(row)
        if len(self._waiting) >= _ROWS_IN_A_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait as a row group."""
        if self._waiting:
            self._file.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
            self._waiting = []
