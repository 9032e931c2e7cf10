"""Two jobs in one run directory: the second is refused, a killed one is replaced, a late one gives way."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
import ray

from jobs.config import ConfigError
from jobs.execution import lease as lease_module
from jobs.execution.lease import lease
from jobs.execution.run_directory import RunDirectory
from teachers.storage import open_uri
from tests.s3_server import FaultyBucket, faulty_bucket

SUCCESSOR = {"id": "b", "host": "another", "process": 7, "renewed": time.time() + 1000}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_RENEWED_EVERY_S", 0.5)
    monkeypatch.setattr(lease_module, "_EXPIRES_S", 3.0)
    monkeypatch.setattr(lease_module, "_SETTLES_S", {"file": 0.3, "bucket": 0.5})


@pytest.fixture(scope="module")
def bucket() -> Iterator[FaultyBucket]:
    with faulty_bucket() as bucket:
        yield bucket


@pytest.fixture(params=["file", "bucket"])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run on disk, and one in a bucket."""
    if request.param == "file":
        return RunDirectory(str(tmp_path / "run"))
    filesystem, _ = open_uri(request.getfixturevalue("bucket").at(""))
    monkeypatch.setattr("teachers.storage._s3", lambda _: filesystem)
    return RunDirectory(f"s3://runs/{tmp_path.name}/run")


@pytest.fixture
def exits_by_sigterm() -> Iterator[None]:
    """As in a process that has called `ray.init`."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
    yield
    signal.signal(signal.SIGTERM, before)


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


@pytest.mark.usefixtures("exits_by_sigterm")
@pytest.mark.parametrize(
    ("successor", "who"), [(SUCCESSOR, "process 7 on another"), (None, "which has ended since")]
)
def test_a_job_whose_run_was_taken_over_is_told_and_ends(
    run: RunDirectory, successor: Any, who: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit), lease(run):
        if successor is None:
            run.delete_file("lease.json")
        else:
            run.write_json(successor, "lease.json")
        time.sleep(20)
        pytest.fail("two jobs write one run")
    assert run.read_json("lease.json") == successor
    assert [line for line in caplog.messages if "taken the run over" in line] == [
        f"{run.uri}: another job has taken the run over ({who}); this one ends"
    ]


@pytest.mark.usefixtures("ray_cluster")
def test_a_job_that_waits_for_ray_ends_as_well(tmp_path: Path) -> None:
    run = RunDirectory(str(tmp_path / "run"))

    @ray.remote
    def teacher() -> None:
        time.sleep(100)

    working = teacher.remote()
    try:
        with pytest.raises(SystemExit), lease(run):
            run.write_json(SUCCESSOR, "lease.json")
            ray.get(working, timeout=60)
    finally:
        ray.cancel(working, force=True)
    assert run.read_json("lease.json") == SUCCESSOR


def test_a_lease_that_may_be_taken_over_at_any_time_is_left_to_expire(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "_RENEWED_EVERY_S", 1000)
    with lease(run):
        held = run.read_json("lease.json")
        aged = {**held, "renewed": held["renewed"] - 2}  # of 3
        run.write_json(aged, "lease.json")
    assert run.read_json("lease.json") == aged


def test_a_lease_that_cannot_be_given_back_hides_no_error(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*parts: str) -> None:
        raise OSError("AWS Error SLOW_DOWN")

    with pytest.raises(ValueError, match="too few rows"), lease(run):
        monkeypatch.setattr(run, "read_json", fail)
        raise ValueError("too few rows")
    assert "the lease was not given back, and expires: AWS Error SLOW_DOWN" in caplog.text
