"""Servers in separate processes: ours behind Ray Serve, and the baseline without it."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from serve.ingress import free_port

_START_S, _END_S = 180, 60


@contextmanager
def ours(
    run: Path, replicas: int = 1, encoder: str = "auto", environment: Mapping[str, str] = {}
) -> Iterator[list[int]]:
    """Serve a run as `make serve` does; yield its port."""
    port = free_port()
    command = ["jobs/deploy.py", "--run", str(run), "--port", str(port), "--replicas", str(replicas)]
    with _server([*command, "--encoder", encoder], port, environment):
        yield [port]


@contextmanager
def bare_uvicorn(run: Path, processes: int = 1, encoder: str = "auto") -> Iterator[list[int]]:
    """Run processes with the same responder behind uvicorn alone; yield their ports.

    Each has its own: of several that listen on one port, the first to wake accepts all new connections.
    """
    ports = [free_port() for _ in range(processes)]
    with ExitStack() as servers:
        for port in ports:
            command = ["benchmarks/bare_server.py", str(run), str(port), encoder]
            servers.enter_context(_server(command, port, {}))
        yield ports


@contextmanager
def _server(command: list[str], port: int, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a server that answers when the body begins and has ended after it."""
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **environment},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )

    try:
        deadline = time.monotonic() + _START_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} did not start")
            time.sleep(0.5)

        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
    except OSError:
        return False
    return True
