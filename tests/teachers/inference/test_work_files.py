from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from teachers.dataset import read_rows
from teachers.inference.work_files import work_files, write_work

SCHEMA = pa.schema([("key", pa.string())])


def _sizes(uri: str) -> list[int]:
    return [pq.read_metadata(file).num_rows for file in work_files(uri)]


def test_work_is_in_files_of_whole_batches_in_its_order(tmp_path: Path) -> None:
    uri = str(tmp_path / "work")
    write_work(uri, ({"key": f"{number}"} for number in range(1000)), SCHEMA, 4)
    assert _sizes(uri) == [4] * 250
    # It replaces what was there.
    write_work(uri, ({"key": f"{number}"} for number in range(10)), SCHEMA, 4)
    assert _sizes(uri) == [4, 4, 2]
    assert [row["key"] for row in read_rows(uri)] == [f"{number}" for number in range(10)]
    write_work(uri, [], SCHEMA, 4)
    assert work_files(uri) == []


def test_a_hundred_times_the_batches_are_not_a_hundred_times_the_files(tmp_path: Path) -> None:
    uri = str(tmp_path / "work")
    write_work(uri, ({"key": f"{number}"} for number in range(50_000)), SCHEMA, 1)
    sizes = _sizes(uri)
    assert sum(sizes) == 50_000 and sizes == sorted(sizes[:-1]) + sizes[-1:]
    # 500 of one batch each, then 250 of two, and so on: about 500 · ln(1 + 50,000 / 500).
    assert sizes[:500] == [1] * 500 and sizes[500:750] == [2] * 250
    assert len(sizes) < 2700
