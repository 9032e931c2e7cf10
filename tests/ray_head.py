"""A head node of Ray's own, started by `ray start` as on a cluster."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from serve.ingress import free_port

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@dataclass
class RayHead:
    """A head node that runs, and the nodes that joined it."""

    folder: Path
    port: int
    dashboard: str
    metrics: str
    environment: dict[str, str]
    """Of the nodes, and of those who talk to them."""
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """The head first; each is the leader of its node's processes."""

    def add_node(self, num_cpus: int, labels: str) -> subprocess.Popen[bytes]:
        """Another node on this machine, once the head knows it; `labels` are KEY=VALUE, by commas."""
        address = f"127.0.0.1:{self.port}"
        node = self._start(f"--address {address} --num-cpus {num_cpus} --labels {labels}")
        known = len(self.nodes)
        wait(lambda: self.num_alive() == known)
        return node

    def kill_node(self, node: subprocess.Popen[bytes]) -> None:
        """As when a machine is lost: none of its processes can say good-bye."""
        _kill(node)
        self.nodes.remove(node)

    def processes(self) -> list[psutil.Process]:
        """Of all nodes."""
        return [
            process
            for node in self.nodes
            if psutil.pid_exists(node.pid)
            for process in psutil.Process(node.pid).children(recursive=True)
        ]

    def _start(self, options: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("a") as log:
            node = subprocess.Popen(
                [BIN / "ray", "start", "--block", "--disable-usage-stats", *options.split()],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.nodes.append(node)
        return node

    def num_alive(self) -> int:
        """Nodes that the head knows to be alive."""
        headers = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        found = httpx.get(f"{self.dashboard}/nodes?view=summary", headers=headers, trust_env=False).json()
        return sum(node["raylet"]["state"] == "ALIVE" for node in found["data"]["summary"])


@contextmanager
def ray_head(options: str = "--num-cpus 4", **environment: str) -> Iterator[RayHead]:
    """A head node, of four logical CPUs if not told otherwise; nothing is left when the body ends."""
    # Not pytest's folder: the paths of Ray's sockets may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="rj-", dir="/tmp"))
    gcs, dashboard, metrics = free_port(), free_port(), free_port()
    # The variables of the tests' own Ray name its sockets and ports.
    settings = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    settings |= {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 64, **environment}
    head = RayHead(folder, gcs, f"http://127.0.0.1:{dashboard}", f"http://127.0.0.1:{metrics}", settings)
    try:
        head._start(
            f"--head --port {gcs} --dashboard-port {dashboard} --metrics-export-port {metrics} "
            f"--temp-dir {folder}/ray {options}"
        )
        wait(lambda: httpx.get(head.dashboard, trust_env=False).status_code)
        yield head
    finally:
        for node in reversed(head.nodes):
            _end(node)
        shutil.rmtree(folder, ignore_errors=True)


def _end(node: subprocess.Popen[bytes]) -> None:
    node.terminate()
    with suppress(subprocess.TimeoutExpired):
        node.wait(timeout=30)
    _kill(node)


def _kill(node: subprocess.Popen[bytes]) -> None:
    processes = psutil.Process(node.pid).children(recursive=True) if psutil.pid_exists(node.pid) else []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    with suppress(ProcessLookupError):  # where nothing of it is left
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def wait(until: Callable[[], Any], seconds: float = 120) -> Any:
    """What `until` returns once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(httpx.HTTPError, ValueError, KeyError):
            if found := until():
                return found
        assert time.monotonic() < deadline
        time.sleep(0.5)
