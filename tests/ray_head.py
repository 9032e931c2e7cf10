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
import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.autoscaler._private.util import prepare_config

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
def ray_head(
    options: str = "--num-cpus 4", node_types: dict[str, Any] | None = None, **environment: str
) -> Iterator[RayHead]:
    """A head node, of four logical CPUs if not told otherwise; nothing is left when the body ends.

    With `node_types`, in the cluster launcher's format, Ray's autoscaler starts such nodes on this machine.
    """
    # Not pytest's folder: the paths of Ray's sockets may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="rj-", dir="/tmp"))
    gcs, dashboard, metrics = free_port(), free_port(), free_port()
    # The variables of the tests' own Ray name its sockets and ports.
    settings = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    settings |= {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 64, **environment}
    if node_types is not None:
        settings |= _FAKE_CLOUD
        (folder / "autoscaler.yaml").write_text(yaml.safe_dump(_autoscaler(gcs, node_types)))
        options += f" --autoscaling-config {folder}/autoscaler.yaml"
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


# Of Ray's own tests of its autoscaler.
_FAKE_CLOUD = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}


def _autoscaler(port: int, node_types: dict[str, Any]) -> dict[str, Any]:
    """Of a cloud whose machines are processes of this one; nodes leave after six idle seconds."""
    config = {
        "cluster_name": "fake",
        "max_workers": 8,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 8,
        "provider": {
            "type": "fake_multinode",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": f"127.0.0.1:{port}",
        },
        "head_node_type": "ray.head.default",
        "available_node_types": node_types,
        "auth": {},
    }
    found: dict[str, Any] = prepare_config(config)
    return found


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
