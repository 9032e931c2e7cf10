"""A temporary database on disk, for work on more rows than memory should hold."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

# Beyond it DuckDB works on disk. Joins of 6 million keys ran with half of it.
_MEMORY = "1GB"
_ROWS_AT_A_TIME = 2048
_ROWS_IN_AN_INSERT = 20_000


@contextmanager
def scratch_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield an empty database, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="rejoinder-scratch-") as folder:
        settings: dict[str, str | bool | int | float | list[str]] = {"memory_limit": _MEMORY, "threads": 2}
        with duckdb.connect(Path(folder) / "scratch.duckdb", config=settings) as database:
            yield database


def insert(
    database: duckdb.DuckDBPyConnection, table: str, rows: Iterable[tuple[Any, ...]], schema: pa.Schema
) -> int:
    """Insert the rows, whose values are in the order of `schema`, into the table; return their number."""
    count, remaining = 0, iter(rows)

    while block := list(islice(remaining, _ROWS_IN_AN_INSERT)):
        columns = []
        for values, field in zip(zip(*block, strict=True), schema, strict=True):
            columns.append(pa.array(values, field.type))

        database.register("added", pa.Table.from_arrays(columns, schema=schema))
        database.execute(f"insert into {table} select * from added")
        database.unregister("added")
        count += len(block)

    return count


def query_rows(database: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query, which are read in batches."""
    for batch in database.sql(query).to_arrow_reader(_ROWS_AT_A_TIME):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def hash_64(content: bytes) -> int:
    """Return a 64-bit hash of `content`; ten million contents collide with a probability of 3 in 10^6."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)
