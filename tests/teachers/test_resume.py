"""A pipeline of engines that was cut off goes on at the rows that are not written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import ray.data

from teachers.config import TeacherConfig
from teachers.generation import run_teacher
from teachers.records import read_rows, write_rows

_ID = pa.schema([("example_id", pa.string())])
NUM_ROWS, BATCH = 12, 3


class Recorder:
    """Stands for an engine: notes what it was asked, and dies at one row as long as `fault` exists."""

    def __init__(self, notes: str, fault: str) -> None:
        self._notes, self._fault = Path(notes), Path(fault)

    def __call__(self, batch: pa.Table) -> pa.Table:
        ids = batch["example_id"].to_pylist()
        with self._notes.open("a") as notes:
            notes.writelines(f"{example_id}\n" for example_id in ids)
        if "row 7" in ids and self._fault.exists():
            raise RuntimeError("the engine is dead")
        return pa.table({"example_id": ids})


def test_a_cut_off_pipeline_goes_on_where_it_stopped(ray_cluster: None, tmp_path: Path) -> None:
    rows = [{"example_id": f"row {number}"} for number in range(NUM_ROWS)]
    write_rows(str(tmp_path / "input"), rows, _ID)
    notes, fault = tmp_path / "notes", tmp_path / "fault"

    def run() -> None:
        run_teacher(
            ray.data.read_parquet(str(tmp_path / "input")),
            Recorder,
            (str(notes), str(fault)),
            TeacherConfig(model="none"),
            BATCH,
            str(tmp_path / "output" / "rows"),
        )

    fault.touch()
    with pytest.raises(Exception, match="the engine is dead"):
        run()
    written = {row["example_id"] for row in read_rows(str(tmp_path / "output" / "rows"))}
    notes.unlink()
    fault.unlink()
    run()
    asked = notes.read_text().splitlines()
    assert sorted(asked) == sorted({row["example_id"] for row in rows} - written)
    found = [row["example_id"] for row in read_rows(str(tmp_path / "output" / "rows"))]
    assert sorted(found) == sorted(row["example_id"] for row in rows)

    notes.unlink()
    run()
    assert not notes.exists()
