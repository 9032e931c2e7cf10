"""Scoring with a real engine of which the engine, the actor and the driver are killed, each in mid-stage."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from teachers.config import VllmTeacher
from teachers.dataset import read_rows, write_rows
from teachers.records import CANDIDATES
from teachers.scoring.pair_scores import plan_scores
from tests.teachers.inference.scoring_driver import BATCH, SECONDS_A_BATCH
from tests.tiny_models import make_teacher

NUM_CONTEXTS, NUM_CANDIDATES = 96, 4  # enough to be met at work on a busy machine
WAIT_S = 400  # an engine starts in a minute where it is alone, in several where it is not
pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(2000)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a job: a tiny model and the candidates that it is to score."""
    make_teacher(tmp_path / "model", chat=True, seed=1)
    rows = [
        {
            "example_id": f"{number}",
            "split": "train",
            "context": [{"role": "user", "content": f"hey number {number}, how are you?"}],
            "candidates": [
                {"text": f"fine, {candidate} songs in {number}", "source": "gold", "teacher": None}
                for candidate in range(NUM_CANDIDATES)
            ],
            "for_teachers": True,
        }
        for number in range(NUM_CONTEXTS)
    ]
    write_rows(str(tmp_path / "candidates"), rows, CANDIDATES)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts the job; what is left of it in the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.teachers.inference.scoring_driver", str(folder)],
                # The engine in a process of its own, as on a GPU.
                env={
                    **os.environ,
                    "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
                    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                },
                start_new_session=True,
            )
        )
        return started[-1]

    yield begin
    for driver in started:
        for process in _descendants(driver.pid):
            process.kill()
        driver.kill()
        driver.wait()


def _descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True) if psutil.pid_exists(pid) else []


def _wait(reached: Callable[[], bool], driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not reached():
        assert driver.poll() is None, "the job ended early"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _files(folder: Path) -> int:
    return len(list((folder / "store").glob("*.parquet")))


def _engines(worker: int) -> list[psutil.Process]:
    """The engine process below the worker; beside it there is multiprocessing's own."""
    engines = []
    with suppress(psutil.NoSuchProcess):  # one that has just ended
        for child in psutil.Process(worker).children():
            with suppress(psutil.NoSuchProcess):
                if "resource_tracker" not in " ".join(child.cmdline()):
                    engines.append(child)
    return engines


def _wait_until_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert [" ".join(process.cmdline()) for process in alive] == []


def test_killing_engine_actor_and_driver_loses_no_pair_and_repeats_only_what_was_in_flight(
    folder: Path, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    def worker() -> int:
        return int((folder / "worker").read_text())

    driver = start()
    _wait(lambda: _files(folder) >= 3 and bool(_engines(worker())), driver)
    first = psutil.Process(worker())
    [engine] = _engines(first.pid)
    # In the middle of a request: the worker waits for an answer that never comes.
    engine.suspend()
    time.sleep(3 * SECONDS_A_BATCH)
    engine.kill()
    _wait(lambda: worker() != first.pid, driver)

    at_work = _files(folder)
    _wait(lambda: _files(folder) >= at_work + 3, driver)
    second = psutil.Process(worker())
    its_engine = second.children()
    second.kill()
    _wait(lambda: worker() != second.pid, driver)

    at_work = _files(folder)
    _wait(lambda: _files(folder) >= at_work + 3, driver)
    third = psutil.Process(worker())
    its_engine += third.children()
    ray_itself = _descendants(driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    _wait_until_gone([first, engine, second, third, *its_engine])
    # Two of Ray's own processes outlive a raylet that was not stopped.
    for process in psutil.wait_procs(ray_itself, timeout=1)[1]:
        process.kill()

    assert start().wait(WAIT_S) == 0
    candidates, nothing, work = (str(folder / name) for name in ("candidates", "nothing", "all"))
    plan_scores(candidates, VllmTeacher(model=""), nothing, work, BATCH)
    requests = read_rows(work)
    keys = sorted(key for row in requests for key in row["keys"])
    rows = read_rows(str(folder / "store"))
    assert sorted(row["key"] for row in rows) == keys
    assert not [row for row in rows if row["error"] is not None]
    assert (folder / "left").read_text() == ""

    scored_keys = (folder / "asked").read_text().splitlines()
    # Ray Data keeps two batches at an actor; a batch of priors is the largest.
    largest = BATCH * max(len(row["keys"]) for row in requests)
    assert len(keys) <= len(scored_keys) <= len(keys) + 3 * 2 * largest
    before = len(scored_keys)
    assert start().wait(WAIT_S) == 0
    assert len((folder / "asked").read_text().splitlines()) == before
