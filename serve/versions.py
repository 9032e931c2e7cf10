"""Versions of a run's index: folders under `index/` that are never changed once they are complete.

A version has the student, the vectors, the responses, and `index.json`, which is written last. The file
`index/current` names the version that replicas load.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pyarrow.fs

from serve.folders import file_exists
from teachers.dataset import local_folder, open_uri

METADATA_FILE = "index.json"
_CURRENT = "current"


def folder_of(run: str, version: str = "") -> str:
    """Where a version of the run lies, or all of them."""
    return f"{run.rstrip('/')}/index/{version}".rstrip("/")


def versions(run: str) -> list[str]:
    """The names of the complete versions, oldest first."""
    filesystem, path = open_uri(folder_of(run))
    selector = pyarrow.fs.FileSelector(path, allow_not_found=True)
    folders = [found for found in filesystem.get_file_info(selector) if found.type.name == "Directory"]
    names = sorted(Path(found.path).name for found in folders)
    return [name for name in names if file_exists(f"{folder_of(run, name)}/{METADATA_FILE}")]


def check_version(run: str, version: str | None = None) -> str:
    """The version, or the newest where none is named.

    Raises:
        ValueError: the run has no such version, or none at all.
    """
    found = versions(run)
    if not found:
        raise ValueError(f"run: {run} has no complete index ({folder_of(run)}/*/{METADATA_FILE} is missing)")
    if version is not None and version not in found:
        raise ValueError(f"version: {run} has no complete index {version!r}; it has {', '.join(found)}")
    return version or found[-1]


def current_version(run: str) -> str:
    """The version that replicas are to load.

    Raises:
        ValueError: see `check_version`.
    """
    filesystem, path = open_uri(f"{folder_of(run)}/{_CURRENT}")
    if filesystem.get_file_info(path).type != pyarrow.fs.FileType.File:
        return check_version(run)
    with filesystem.open_input_stream(path) as stream:
        return check_version(run, stream.read().decode().strip())


def make_current(run: str, version: str) -> None:
    """Has replicas load the version from now on when they start."""
    filesystem, path = open_uri(f"{folder_of(run)}/{_CURRENT}")
    with filesystem.open_output_stream(f"{path}.new") as stream:
        stream.write(f"{version}\n".encode())
    filesystem.move(f"{path}.new", path)


def local_version(run: str, version: str) -> Path:
    """A local folder of the version: its own, or a copy that all replicas of the node share.

    Raises:
        OSError: it could not be copied.
    """
    uri = folder_of(run, version)
    if isinstance(open_uri(uri)[0], pyarrow.fs.LocalFileSystem):
        return Path(open_uri(uri)[1])
    shared = Path(tempfile.gettempdir()) / f"rejoinder-{os.getuid()}" / version
    if not shared.is_dir():
        shared.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shared.parent) as scratch:
            copy = local_folder(uri, Path(scratch))
            try:
                copy.rename(shared)
            except OSError:  # another replica was first
                shutil.rmtree(copy)
    return shared
