"""What a teacher is to do, on disk: Parquet files of whole batches, whose names Ray Data gives its actors."""

from collections.abc import Iterable
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from teachers.inference.store import Row
from teachers.storage import list_names, make_empty_folder, open_uri

# The first files hold one batch each, so that all actors get some at once. Later ones hold more: of a million
# batches there are four thousand files, for Ray keeps something of each in memory.
_FILES_OF_AS_MANY = 500


def write_work(uri: str, rows: Iterable[Row], schema: pa.Schema, batch_size: int) -> None:
    """Replace the files at `uri` by the rows, in their order."""
    filesystem, folder = open_uri(uri)
    make_empty_folder(uri)
    remaining, number, num_batches = iter(rows), 0, 0
    while some := list(islice(remaining, batch_size * (1 + num_batches // _FILES_OF_AS_MANY))):
        file = f"{folder}/{number:06}.parquet"
        pq.write_table(pa.Table.from_pylist(some, schema=schema), file, filesystem=filesystem)
        number += 1
        num_batches += -(-len(some) // batch_size)


def work_files(uri: str) -> list[str]:
    """URIs of the files of work."""
    return [f"{uri}/{name}" for name in list_names(uri)]
