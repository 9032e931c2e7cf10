"""Two jobs in one run directory: the second is refused, and a killed one is no hindrance."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest

from jobs.config import ConfigError
from jobs.execution import lease as lease_module
from jobs.execution.lease import lease
from jobs.execution.run_directory import RunDirectory


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_RENEWED_EVERY_S", 0.5)
    monkeypatch.setattr(lease_module, "_EXPIRES_S", 3.0)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(str(tmp_path / "run"))


@pytest.fixture
def ended_process() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    yield process.pid


def test_a_second_job_is_told_who_works_there(run: RunDirectory) -> None:
    with (
        lease(run),
        pytest.raises(
            ConfigError, match=rf"run: another job works there \(process \d+ on {socket.gethostname()}\)"
        ),
        lease(run),
    ):
        pytest.fail("two jobs hold one run")
    with lease(run):
        pass
    assert run.read_json("lease.json") is None


def test_the_lease_of_a_killed_process_is_taken_over_at_once(run: RunDirectory, ended_process: int) -> None:
    killed = {"id": "a", "host": socket.gethostname(), "process": ended_process, "renewed": time.time()}
    run.write_json(killed, "lease.json")
    start = time.monotonic()
    with lease(run):
        assert time.monotonic() - start < 2


def test_the_lease_of_a_lost_machine_is_taken_over_once_it_expires(run: RunDirectory) -> None:
    run.write_json({"id": "a", "host": "gone", "process": 1, "renewed": time.time()}, "lease.json")
    start = time.monotonic()
    with lease(run):
        assert 2 < time.monotonic() - start < 6


def test_of_two_jobs_that_start_at_once_one_works(run: RunDirectory) -> None:
    outcomes: list[str] = []
    both = Barrier(2)

    def job() -> None:
        both.wait()
        try:
            with lease(run):
                outcomes.append("works")
                time.sleep(2)
        except ConfigError:
            outcomes.append("refused")

    jobs = [Thread(target=job) for _ in range(2)]
    for thread in jobs:
        thread.start()
    for thread in jobs:
        thread.join()
    assert sorted(outcomes) == ["refused", "works"]
