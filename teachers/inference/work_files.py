"""What a teacher is to do, on disk: Parquet files of whole batches, whose names Ray Data gives its actors."""

from collections.abc import Iterable
from itertools import islice

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from teachers.dataset import open_uri
from teachers.inference.store import Row

# The first files hold one batch each, so that all actors get some at once. Later ones hold more: of a million
# batches there are four thousand files, for Ray keeps something of each in memory.
_FILES_OF_AS_MANY = 500


def write_work(uri: str, rows: Iterable[Row], schema: pa.Schema, batch_size: int) -> None:
    """Replaces what is at `uri` by the rows, in their order."""
    filesystem, folder = open_uri(uri)
    if filesystem.get_file_info(folder).type == pyarrow.fs.FileType.Directory:
        filesystem.delete_dir(folder)
    filesystem.create_dir(folder, recursive=True)
    left, number, num_batches = iter(rows), 0, 0
    while some := list(islice(left, batch_size * (1 + num_batches // _FILES_OF_AS_MANY))):
        file = f"{folder}/{number:06}.parquet"
        pq.write_table(pa.Table.from_pylist(some, schema=schema), file, filesystem=filesystem)
        number += 1
        num_batches += -(-len(some) // batch_size)


def work_files(uri: str) -> list[str]:
    """URIs of the files of work."""
    filesystem, folder = open_uri(uri)
    selector = pyarrow.fs.FileSelector(folder, allow_not_found=True)
    return [f"{uri}/{name}" for name in sorted(file.base_name for file in filesystem.get_file_info(selector))]
