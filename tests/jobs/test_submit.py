"""`ray job submit` to a cluster: its logs, what is uploaded, a stop in the middle, and a second submit."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from teachers.store import count_rows
from tests.jobs.running import Submitted
from tests.ray_head import RayHead, ray_head, wait

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.weights]
MOST_BYTES = 3_000_000
# Small batches, so that there is a middle; the tests' comparison and job fine-tune.
SETTINGS = ["--finetune.epochs", "0", "--score.batch_size", "2", "--until", "score"]


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head() as head:
        yield head


def stored(config: Path) -> dict[str, int]:
    """Rows of each teacher's folder of the store."""
    folders = [
        folder
        for kind in ("samples", "pairs")
        for folder in (config.parent / "submitted/store").glob(f"{kind}/*")
    ]
    return {folder.name: count_rows(str(folder)) for folder in folders}


def teachers_at_work(head: RayHead) -> list[str]:
    """Processes of actors that have a teacher."""
    names = []
    for process in head.processes():
        with suppress(psutil.NoSuchProcess):
            names.append(" ".join(process.cmdline()))
    return [name for name in names if "MapWorker" in name or "EngineCore" in name]


def test_a_stopped_job_goes_on_when_it_is_submitted_again(
    head: RayHead, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = config.parent / "submitted" / "run"
    first = Submitted(head, "first", config, str(run), *SETTINGS)
    try:
        wait(lambda: first.is_over() or sum(stored(config).values()) > 30, 240)
        assert not first.is_over(), first.said()
        # The log is followed while the job runs.
        assert "chat answers: 24 to do, 0 in the store" in first.said() or "samples" in first.said()
        first.stop()
        first.end()
        stopped = time.monotonic()
        wait(lambda: not teachers_at_work(head), 60)
        with capsys.disabled():
            print(f"\nstopped: teachers gone after {time.monotonic() - stopped:.1f} s, rows {stored(config)}")
    finally:
        first.end()
    before = stored(config)

    second = Submitted(head, "second", config, str(run), *SETTINGS)
    assert second.end() == 0, second.said()
    print(second.said())
    assert sum(stored(config).values()) > sum(before.values())


def test_what_is_uploaded_is_the_code_alone(head: RayHead) -> None:
    [package] = (head.folder / "ray/session_latest/runtime_resources/working_dir_files").glob(
        "_ray_pkg_*[!p]"
    )
    files = [file for file in package.rglob("*") if file.is_file()]
    names = {file.relative_to(package).parts[0] for file in files}
    assert {"jobs", "teachers", "student", "serve", "configs"} <= names
    assert not names & {".venv", ".git", ".cache", "runs", "wandb"}
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
