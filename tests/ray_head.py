"""A separate head node, started by `ray start` as on a cluster."""

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
import yaml

from serve.ingress import free_port
from tests.process_nodes import HEAD_ENVIRONMENT, autoscaling_config

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@dataclass
class RayHead:
    """A running head node, and the nodes that joined it."""

    folder: Path
    port: int
    dashboard: str
    metrics: str
    environment: dict[str, str]
    """The environment of the nodes and of their clients."""
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """The head first; each is the leader of its node's processes."""

    def add_node(self, num_cpus: int, labels: str) -> subprocess.Popen[bytes]:
        """Start a node on this machine; return once the head lists it. `labels` are KEY=VALUE, by commas."""
        address, before = f"127.0.0.1:{self.port}", self.alive()
        # Any port: all agents of a machine have the same default.
        agent = "--dashboard-agent-listen-port 0"
        node = self._start(f"--address {address} --num-cpus {num_cpus} --labels {labels} {agent}")

        def joined() -> bool:
            assert node.poll() is None, f"the node ended:\n{self._log()}"
            return bool(self.alive() - before)

        try:
            wait(joined)
        except TimeoutError as error:
            raise TimeoutError(f"the node did not join: {error}\n{self._log()}") from error
        return node

    def _log(self) -> str:
        return (self.folder / "log").read_text()[-4000:]

    def kill_node(self, node: subprocess.Popen[bytes]) -> None:
        """Kill a node as when a machine is lost: its processes cannot clean up."""
        _kill(node)
        self.nodes.remove(node)

    def command_lines(self, *nodes: subprocess.Popen[bytes]) -> list[str]:
        """Command lines of the processes of these nodes, or of all nodes."""
        lines = []
        for node in nodes or self.nodes:
            for process in _below(node):
                with suppress(psutil.NoSuchProcess):
                    lines.append(" ".join(process.cmdline()))
        return lines

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

    def alive(self) -> set[str]:
        """Ids of the nodes that the head considers alive; it notices a lost one after some seconds."""
        headers = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        nodes = httpx.get(f"{self.dashboard}/nodes?view=summary", headers=headers, trust_env=False).json()
        raylets = [node["raylet"] for node in nodes["data"]["summary"]]
        return {raylet["nodeId"] for raylet in raylets if raylet["state"] == "ALIVE"}


@contextmanager
def ray_head(
    options: str = "--num-cpus 4", node_types: dict[str, Any] | None = None, **environment: str
) -> Iterator[RayHead]:
    """Run a head node, by default with four logical CPUs; all of its processes end with the body.

    With `node_types`, as in cluster.yaml, Ray's autoscaler starts such nodes on this machine.
    """
    # Not pytest's folder: the paths of Ray's sockets have at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="rj-", dir="/tmp"))
    gcs, dashboard, agent, metrics = (free_port() for _ in range(4))

    # Without the variables of the tests' Ray, which name its sockets and ports.
    settings = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    settings |= {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 64, **environment}

    if node_types is not None:
        config = autoscaling_config(f"127.0.0.1:{gcs}", node_types)
        (folder / "autoscaling.yaml").write_text(yaml.safe_dump(config))
        options += f" --autoscaling-config {folder}/autoscaling.yaml"
        settings |= HEAD_ENVIRONMENT

    head = RayHead(folder, gcs, f"http://127.0.0.1:{dashboard}", f"http://127.0.0.1:{metrics}", settings)
    try:
        head._start(
            f"--head --port {gcs} --dashboard-port {dashboard} --metrics-export-port {metrics} "
            f"--dashboard-agent-listen-port {agent} --temp-dir {folder}/ray {options}"
        )
        wait(lambda: httpx.get(head.dashboard, trust_env=False).status_code)
        # The agent starts the jobs. If its port is taken, only a log says so.
        wait(lambda: httpx.get(f"http://127.0.0.1:{agent}", trust_env=False).status_code)
        yield head
    finally:
        for node in reversed(head.nodes):
            _kill(node)
        shutil.rmtree(folder, ignore_errors=True)


def _kill(node: subprocess.Popen[bytes]) -> None:
    """Kill a node's processes at once, and those that the autoscaler started on it."""
    for process in _below(node):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    with suppress(ProcessLookupError):  # all of its processes have ended
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def _below(node: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The descendants of the node's process."""
    with suppress(psutil.NoSuchProcess):
        processes: list[psutil.Process] = psutil.Process(node.pid).children(recursive=True)
        return processes
    return []


def wait(until: Callable[[], Any], seconds: float = 300) -> Any:
    """Poll `until`; return its first true value."""
    deadline = time.monotonic() + seconds
    last_error: Exception | None = None
    while time.monotonic() < deadline:
        try:
            value = until()
        except (httpx.HTTPError, ValueError, KeyError) as error:
            last_error = error
        else:
            if value:
                return value
        time.sleep(0.5)
    raise TimeoutError(f"not so within {seconds:.0f} s; {last_error!r}")
