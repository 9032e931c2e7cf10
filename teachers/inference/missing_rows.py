"""The keys that a run requests of the store, joined on disk with those that are there."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import duckdb
import pyarrow as pa

from teachers.inference.store import Row, open_store
from teachers.scratch import insert, query_rows, scratch_database

_KEYS = pa.schema([("place", pa.int64()), ("key", pa.string())])


class Planned(NamedTuple):
    """Rows that a teacher is to make, and requested rows that are in the store."""

    num_rows: int
    num_stored: int


class RequestedKeys(ExitStack):
    """The keys that a run requests, in its order, until the end of a `with`; a key may come twice."""

    def __init__(self, keys: Iterable[str]) -> None:
        super().__init__()
        self._database = self.enter_context(scratch_database())
        self._database.execute("create table requested (place bigint, key uuid)")
        self._num_keys = insert(self._database, "requested", enumerate(keys), _KEYS)

    def planned(self, store_uri: str) -> Planned:
        """How many different keys are missing, and how many are not."""
        connection, missing = self._missing(store_uri)
        [(num_missing,)] = query_rows(connection, f"select count(*) from ({missing})")
        [(num_requested,)] = query_rows(
            connection, "select count(*) from (select key from requested group by key)"
        )
        return Planned(num_missing, num_requested - num_missing)

    def missing(self, store_uri: str) -> Iterator[bool]:
        """Of each key, whether it is to be made: it is not stored, and was not requested before."""
        connection, missing = self._missing(store_uri)
        place = 0
        for (first_place,) in query_rows(connection, f"select place from ({missing}) order by place"):
            yield from (False for _ in range(place, first_place))
            yield True
            place = first_place + 1
        yield from (False for _ in range(place, self._num_keys))

    def _missing(self, store_uri: str) -> tuple[duckdb.DuckDBPyConnection, str]:
        """The first place of each key that is not stored, as a query, and a connection of its own for it."""
        connection = self._database.cursor()
        query = "select min(place) as place, key from requested group by key"
        if (stored := open_store(store_uri)) is not None:
            connection.register("store", stored)
            query = f"select * from ({query}) anti join (select key::uuid as key from store) using (key)"
        return connection, query

    def rows(self, store_uri: str) -> Iterator[Row | None]:
        """Of each key its stored row, None where there is none.

        Two runs at once may both have made a row: one of them is taken.
        """
        if (stored := open_store(store_uri)) is None:
            yield from (None for _ in range(self._num_keys))
            return
        connection = self._database.cursor()
        connection.register("store", stored)
        connection.execute(
            "create temp table stored_rows as "
            "select distinct on (id) key::uuid as id, * from store "
            "where key::uuid in (select key from requested)"
        )
        query = (
            "select stored_rows.* exclude (id) from requested "
            "left join stored_rows on id = requested.key order by place"
        )
        for values in query_rows(connection, query):
            row = dict(zip(stored.schema.names, values, strict=True))
            yield row if row["key"] is not None else None
