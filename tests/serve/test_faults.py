"""Faults of a served run under steady load: no request is answered 5xx."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serve.config import IndexConfig
from serve.index import load_index
from serve.indexing import write_index
from serve.ingress import free_port
from student.encoders.encoder import EncoderSource
from tests.conftest import ADMIN_KEY
from tests.serve.conftest import version_folder

pytestmark = [pytest.mark.slow, pytest.mark.faults]
CLIENTS, PAUSE_S = 4, 0.02
AFTER_S = 4  # of load after a fault
CUT_OFF = "RemoteProtocolError"
BODY = {"messages": [{"role": "user", "content": "hello"}]}


class Served:
    """A run served by a separate process."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "tests.serve.fault_driver", str(run), str(self.port)]
        self._driver = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._driver.stdin is not None and self._driver.stdout is not None
        self._input, self._output = self._driver.stdin, self._driver.stdout

    def deploy(self, **config: Any) -> None:
        """Redeploy; return once the new config is served."""
        self._input.write(json.dumps(config) + "\n")
        self._input.flush()
        while (line := self._output.readline()) != "done\n":
            assert line, "the application's process ended"

    def replicas(self) -> list[psutil.Process]:
        """The processes of the replicas."""
        replicas = []
        for process in psutil.Process(self._driver.pid).children(recursive=True):
            with suppress(psutil.Error):  # it has just ended
                if "ServeReplica" in " ".join(process.cmdline()):
                    replicas.append(process)
        return replicas

    def reload(self) -> dict[str, Any]:
        """Reload the newest version; return the answer."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        answer = httpx.post(f"{self.url}/admin/reload", json={}, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def end(self) -> None:
        """End the driver and every process below it."""
        driver = psutil.Process(self._driver.pid)
        processes = driver.children(recursive=True)
        self._input.close()

        try:
            self._driver.wait(60)
        finally:
            if self._driver.poll() is None:
                processes.append(driver)
            for process in processes:
                if process.is_running():
                    process.kill()


class Load:
    """Clients that send one request after the other, and count the outcomes."""

    def __init__(self, url: str) -> None:
        self.counts: Counter[str] = Counter()
        self._url = url
        self._ended = threading.Event()
        self._clients = [threading.Thread(target=self._send_requests) for _ in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(AFTER_S)
        self._ended.set()
        for client in self._clients:
            client.join()

    def _send_requests(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30, trust_env=False) as client:
            while not self._ended.is_set():
                try:
                    answer = client.post("/respond", json=BODY)
                    version = answer.json()["version"] if answer.status_code == 200 else ""
                    self.counts[f"{answer.status_code} {version}".strip()] += 1
                except httpx.HTTPError as error:
                    self.counts[type(error).__name__] += 1
                time.sleep(PAUSE_S)


@pytest.fixture(scope="module")
def served(served_run_copy: Path) -> Iterator[Served]:
    served = Served(served_run_copy)
    try:
        served.deploy(num_replicas=2)
        yield served
    finally:
        served.end()


def check(load: Load, fault: str, capsys: pytest.CaptureFixture[str], cut_off: int = 0) -> None:
    """Print the counts; assert that at most `cut_off` requests were not answered."""
    with capsys.disabled():
        print(f"\n{fault}: {dict(load.counts)}")
    others = {outcome: count for outcome, count in load.counts.items() if not outcome.startswith("200 ")}
    assert load.counts and set(others) <= {CUT_OFF} and sum(others.values()) <= cut_off, load.counts


def test_the_other_replica_takes_over_from_a_killed_one(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    before = served.replicas()
    assert len(before) == 2

    with Load(served.url) as load:
        time.sleep(1)
        os.kill(before[0].pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while served.reload()["replicas"] < 2 and time.monotonic() < deadline:
            time.sleep(0.5)

    assert served.reload()["replicas"] == len(served.replicas()) == 2
    # HAProxy tries the other replica, unless the dead one's system answers for it by a reset.
    check(load, "one of two replicas killed", capsys, cut_off=CLIENTS)


def test_a_version_is_reloaded_under_load(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    old = load_index(version_folder(served.run))
    student = EncoderSource(str(served.run / "student"), "dense", 32, "fp32")
    counts = write_index(old.responses.slice(1), student, str(served.run), IndexConfig(), 4, lambda *_: None)
    with Load(served.url) as load:
        time.sleep(1)
        assert served.reload() == {"version": counts["version"], "replicas": 2}
    check(load, "reloaded", capsys)
    assert set(load.counts) == {f"200 {old.version}", f"200 {counts['version']}"}


def test_a_new_deployment_takes_over_under_load(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    before = {process.pid for process in served.replicas()}
    with Load(served.url) as load:
        time.sleep(1)
        served.deploy(num_replicas=2, min_score=-1)
    check(load, "redeployed", capsys)
    assert not before & {process.pid for process in served.replicas()}


def test_the_number_of_replicas_changes_under_load(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        with Load(served.url) as load:
            time.sleep(1)
            served.deploy(num_replicas=number, min_score=-1)
        check(load, f"scaled to {number}", capsys)
        assert len(served.replicas()) == number


def test_requests_above_the_limit_are_answered_503_with_retry_after(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.deploy(num_replicas=2, min_score=-1, max_queued_requests=2)
    counts: Counter[int] = Counter()
    retry_after: list[str | None] = []

    def send_requests() -> None:
        with httpx.Client(base_url=served.url, timeout=60, trust_env=False) as client:
            for _ in range(10):
                answer = client.post("/respond", json=BODY)
                counts[answer.status_code] += 1
                if answer.status_code == 503:
                    retry_after.append(answer.headers.get("retry-after"))

    clients = [threading.Thread(target=send_requests) for _ in range(40)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()

    with capsys.disabled():
        print(f"\n40 clients, 2 may wait: {dict(counts)}")
    assert set(counts) == {200, 503} and set(retry_after) == {"1"}
    assert httpx.post(f"{served.url}/respond", json=BODY, timeout=30).status_code == 200
