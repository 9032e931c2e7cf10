"""A lease on a run directory: two jobs that write the same run would mix their datasets.

It is renewed as long as the job runs. One that is not renewed for a while is taken over: its job was killed,
suspended, or cut off from the bucket. Should that job go on later, it sees whose the run is now, and ends.
"""

import logging
import os
import signal
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

    A job whose own lease was taken over meanwhile is ended by SIGTERM, as by `ray job stop`.

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
        _give_back(run, holder)


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
    return ConfigError(
        f"{_shown(run)}: another job works there ({_who(held)}); wait for its end, or give another --run"
    )


def _who(held: dict[str, Any]) -> str:
    return f"process {held['process']} on {held['host']}"


def _shown(run: RunDirectory) -> str:
    return without_credentials(run.uri)


def _renew(run: RunDirectory, holder: dict[str, Any]) -> None:
    run.write_json({**holder, "renewed": time.time()}, _FILE)


def _keep(run: RunDirectory, holder: dict[str, Any], ended: threading.Event) -> None:
    """Renew the lease until `ended` is set; end the job where the lease is no longer its own."""
    while not ended.wait(_RENEWED_EVERY_S):
        try:
            held = run.read_json(_FILE)
            if not _is_held_by(holder, held):
                _end_job(run, held)
                return
            _renew(run, holder)  # who takes it over just now sees this once it has settled
        except OSError as error:
            logger.warning("%s: the lease could not be renewed: %s", _shown(run), error)


def _is_held_by(holder: dict[str, Any], held: dict[str, Any] | None) -> bool:
    return held is not None and held["id"] == holder["id"]


def _end_job(run: RunDirectory, held: dict[str, Any] | None) -> None:
    """Say why, and end the main thread by SystemExit, within Ray's calls too: Ray has SIGTERM raise it."""
    successor = "which has ended since" if held is None else _who(held)
    logger.error("%s: another job has taken the run over (%s); this one ends", _shown(run), successor)
    os.kill(os.getpid(), signal.SIGTERM)


def _give_back(run: RunDirectory, holder: dict[str, Any]) -> None:
    """Delete the lease if it is still this job's; one that cannot be deleted expires."""
    try:
        held = run.read_json(_FILE)
        # Of an old one a successor's might be deleted: it can be taken over after it was read.
        if _is_held_by(holder, held) and time.time() - held["renewed"] < _EXPIRES_S / 2:
            run.delete_file(_FILE)
    except OSError as error:
        logger.warning("%s: the lease was not given back, and expires: %s", _shown(run), error)
