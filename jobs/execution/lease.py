"""A lease on a run directory: two jobs that write the same run would mix their datasets."""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobs.config import ConfigError
from jobs.execution.run_directory import RunDirectory
from teachers.storage import without_credentials

logger = logging.getLogger(__name__)

_FILE = "lease.json"
_RENEWED_EVERY_S = 20.0
_EXPIRES_S = 75.0
# Of two jobs that take a free lease at once, both see after so long whose it is.
_SETTLES_S = {"file": 0.3, "bucket": 1.5}


@contextmanager
def lease(run: RunDirectory) -> Iterator[None]:
    """Hold the run until the body ends. The lease of a job that was killed is taken over.

    Raises:
        ConfigError: another job holds it.
    """
    holder = {"id": uuid.uuid4().hex, "host": socket.gethostname(), "process": os.getpid()}
    _wait_until_free(run)
    _renew(run, holder)
    time.sleep(_SETTLES_S["bucket" if "://" in run.uri else "file"])
    held = run.read_json(_FILE)
    if held["id"] != holder["id"]:
        raise _held(run, held)

    ended = threading.Event()
    renewing = threading.Thread(target=_keep, args=(run, holder, ended), daemon=True, name="lease")
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        held = run.read_json(_FILE)
        if held is not None and held["id"] == holder["id"]:  # another job may have taken it over
            run.delete_file(_FILE)


def _wait_until_free(run: RunDirectory) -> None:
    """Wait until no job holds the run; one that does not renew its lease has ended."""
    held = first = run.read_json(_FILE)
    while held is not None and time.time() - held["renewed"] < _EXPIRES_S:
        is_running = _is_running(held)
        if is_running is False:
            return
        if is_running or (held["id"], held["renewed"]) != (first["id"], first["renewed"]):
            raise _held(run, held)
        if held is first:
            logger.info("%s: waiting whether the job on %s has ended", _shown(run), held["host"])
        time.sleep(1)
        held = run.read_json(_FILE)


def _is_running(held: dict[str, Any]) -> bool | None:
    """Whether the holder's process runs; None where it is another machine's."""
    if held["host"] != socket.gethostname():
        return None
    try:
        os.kill(held["process"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _held(run: RunDirectory, held: dict[str, Any]) -> ConfigError:
    where = f"process {held['process']} on {held['host']}"
    return ConfigError(
        f"{_shown(run)}: another job works there ({where}); wait for its end, or give another --run"
    )


def _shown(run: RunDirectory) -> str:
    return without_credentials(run.uri)


def _renew(run: RunDirectory, holder: dict[str, Any]) -> None:
    run.write_json({**holder, "renewed": time.time()}, _FILE)


def _keep(run: RunDirectory, holder: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(_RENEWED_EVERY_S):
        try:
            _renew(run, holder)
        except OSError as error:
            logger.warning("%s: the lease could not be renewed: %s", _shown(run), error)
