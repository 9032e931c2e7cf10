"""Latencies that count as a teacher's."""

from pathlib import Path

import pyarrow as pa

from teachers.dataset import write_rows
from teachers.generation.latency import latencies_ms

TIMED = pa.schema([("latency_ms", pa.float64()), ("complete", pa.bool_()), ("error", pa.string())])


def test_warm_up_incomplete_and_failed_responses_have_no_latency(tmp_path: Path) -> None:
    rows = [
        (900.0, True, None),
        (80.0, True, None),
        (20.0, False, None),
        (None, None, "broken"),
        (90.0, True, None),
    ]
    write_rows(str(tmp_path / "timed"), [dict(zip(TIMED.names, row, strict=True)) for row in rows], TIMED)

    assert latencies_ms(str(tmp_path / "timed")) == [80.0, 90.0]
