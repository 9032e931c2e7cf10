"""`ray job submit` to a cluster: its logs, what is uploaded, a stop in the middle, and a second submit."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.jobs.running import Submitted, stored_rows
from tests.ray_head import RayHead, ray_head, wait

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.weights]
MOST_BYTES = 3_000_000
# Small batches, so that there is a middle; the tests' comparison and job fine-tune.
SETTINGS = ["--finetune.epochs=0", "--generate.contexts=30", "--score.batch_size=1", "--until=score"]
METRICS = {
    f"ray_rejoinder_{name}" for name in ("progress_total", "teacher_rows_total", "teacher_starts_total")
}


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head(RAY_metrics_report_interval_ms="500") as head:
        yield head


def teachers_at_work(head: RayHead) -> list[str]:
    """Processes of actors that have a teacher."""
    return [line for line in head.command_lines() if "MapWorker" in line or "EngineCore" in line]


def scraped(head: RayHead) -> set[str]:
    """Names of our metrics that count something."""
    lines = httpx.get(f"{head.metrics}/metrics", trust_env=False).text.splitlines()
    ours = [line for line in lines if line.startswith("ray_rejoinder_")]
    return {line.split("{")[0] for line in ours if float(line.rsplit(" ", 1)[1]) > 0}


def test_a_stopped_job_goes_on_when_it_is_submitted_again(
    head: RayHead, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, store = config.parent / "submitted/run", str(config.parent / "submitted/store")
    first = Submitted(head, "first", config, str(run), *SETTINGS)
    # The log is followed while the job runs, and Prometheus sees what the dashboard shows. From the first
    # rows on, so that a fast machine, too, is stopped in the middle.
    first.wait(lambda: stored_rows(store) and scraped(head) >= METRICS)
    assert re.search(r"chat writes: \d+ to do, 0 in the store", first.output())
    first.stop()
    stopped = time.monotonic()
    wait(lambda: not teachers_at_work(head), 60)
    took = time.monotonic() - stopped
    first.end()
    before = stored_rows(store)
    second = Submitted(head, "second", config, str(run), *SETTINGS)
    assert second.end() == 0, second.output()
    rows = stored_rows(store)
    with capsys.disabled():
        print(f"\nstopped at {len(before)} rows: teachers ended in {took:.0f} s; {len(rows)} in the end")
    assert "examples: done before" in second.output()
    assert set(before) < set(rows)
    assert len(rows) == len(set(rows))


def test_what_is_uploaded_is_the_code_alone(head: RayHead) -> None:
    """By the tests before."""
    uploaded = head.folder / "ray/session_latest/runtime_resources/working_dir_files"
    packages = [folder for folder in uploaded.iterdir() if folder.is_dir()]
    assert packages
    for package in packages:
        files = [file for file in package.rglob("*") if file.is_file()]
        names = {file.relative_to(package).parts[0] for file in files}
        assert {"jobs", "teachers", "student", "serve", "configs"} <= names
        assert not names & {".venv", ".git", ".cache", "runs", "wandb"}
        assert sum(file.stat().st_size for file in files) < MOST_BYTES
