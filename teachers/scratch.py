"""A database for work on more rows than memory should hold: on disk, and gone afterwards."""

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
    """An empty database until the end of the `with`."""
    with tempfile.TemporaryDirectory(prefix="rejoinder-scratch-") as folder:
        settings: dict[str, str | bool | int | float | list[str]] = {"memory_limit": _MEMORY, "threads": 2}
        with duckdb.connect(Path(folder) / "scratch.duckdb", config=settings) as database:
            yield database


def insert(
    database: duckdb.DuckDBPyConnection, table: str, rows: Iterable[tuple[Any, ...]], schema: pa.Schema
) -> int:
    """Puts the rows, whose values are in the order of `schema`, into the table; how many there were."""
    count, left = 0, iter(rows)
    while some := list(islice(left, _ROWS_IN_AN_INSERT)):
        columns = [
            pa.array(values, field.type)
            for values, field in zip(zip(*some, strict=True), schema, strict=True)
        ]
        database.register("added", pa.Table.from_arrays(columns, schema=schema))
        database.execute(f"insert into {table} select * from added")
        database.unregister("added")
        count += len(some)
    return count


def found(database: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, a few at a time."""
    for batch in database.sql(query).to_arrow_reader(_ROWS_AT_A_TIME):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def hash_64(content: bytes) -> int:
    """A 64-bit number that stands for `content`: of ten million, two share one with a chance of 3 in 10^6."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)
