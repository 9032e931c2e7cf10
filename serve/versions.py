"""Versions of a run's index: folders under `index/` that never change once they are complete.

A version has the student, the vectors, the responses, and `index.json`, which is written last. The file
`index/current` names the version that replicas load.
"""

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pyarrow.fs

from teachers.storage import (
    file_exists,
    list_names,
    local_folder,
    open_uri,
    read_text,
    without_credentials,
    write_text,
)

METADATA_FILE = "index.json"
_CURRENT = "current"
_UNFINISHED = "."
# The version that is served, and the one before, to which a rollback returns.
_KEPT_COPIES = 2


def folder_of(run: str, version: str = "") -> str:
    """The folder of a version of the run's index, or of all versions."""
    return f"{run.rstrip('/')}/index/{version}".rstrip("/")


def versions(run: str) -> list[str]:
    """The names of the complete versions, oldest first."""
    names = list_names(folder_of(run))
    return [name for name in names if file_exists(f"{folder_of(run, name)}/{METADATA_FILE}")]


def check_version(run: str, version: str | None = None) -> str:
    """Return the version, or the newest where `version` is None.

    Raises:
        ValueError: the run has no such version, or none at all.
    """
    complete = versions(run)
    shown = without_credentials(run)
    if not complete:
        file = f"{folder_of(shown)}/*/{METADATA_FILE}"
        raise ValueError(f"run: {shown} has no complete index ({file} is missing)")

    if version is not None and version not in complete:
        raise ValueError(f"version: {shown} has no complete index {version!r}; it has {', '.join(complete)}")
    return version or complete[-1]


def current_version(run: str) -> str:
    """The version that replicas load.

    Raises:
        ValueError: see `check_version`.
    """
    return check_version(run, current_name(run))


def current_name(run: str) -> str | None:
    """The name that `index/current` has, whether there is such a version or not; None without that file."""
    name = read_text(f"{folder_of(run)}/{_CURRENT}")
    return None if name is None else name.strip()


def make_current(run: str, version: str) -> None:
    """Make replicas load the version from now on when they start."""
    write_text(f"{folder_of(run)}/{_CURRENT}", f"{version}\n")


def local_version(run: str, version: str) -> Path:
    """A local folder of the version: the run's, or a copy that all replicas of the node share.

    Raises:
        OSError: the version could not be copied.
    """
    uri = folder_of(run, version)
    if isinstance(open_uri(uri)[0], pyarrow.fs.LocalFileSystem):
        return Path(open_uri(uri)[1])

    run_hash = hashlib.sha256(run.encode()).hexdigest()[:12]
    copies = Path(tempfile.gettempdir()) / f"rejoinder-{os.getuid()}" / run_hash
    shared = copies / version
    if not shared.is_dir():
        copies.parent.mkdir(mode=0o700, exist_ok=True)
        copies.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=copies, prefix=_UNFINISHED) as scratch:
            copy = local_folder(uri, Path(scratch))

            try:
                copy.rename(shared)
            except OSError:  # another replica was first
                shutil.rmtree(copy)
    os.utime(shared)
    _remove_copies(copies)
    return shared


def _remove_copies(copies: Path) -> None:
    """Leave the copies that were used last; a replica that serves another one keeps its open files."""
    complete = [copy for copy in copies.iterdir() if not copy.name.startswith(_UNFINISHED)]
    with suppress(FileNotFoundError):  # another replica removes the same
        complete.sort(key=lambda copy: copy.stat().st_mtime_ns)
        for copy in complete[:-_KEPT_COPIES]:
            shutil.rmtree(copy, ignore_errors=True)
