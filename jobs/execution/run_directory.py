"""The run directory: where every dataset, marker and report of a job lies, on disk or in a bucket."""

import datetime
import hashlib
import json
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from teachers import storage

_PACKAGES = ("ray", "torch", "transformers", "sentence-transformers", "deepspeed", "faiss-cpu")


class RunDirectory:
    """Paths and small JSON files of one run, which may read some datasets of another."""

    def __init__(
        self, location: str, lender: "RunDirectory | None" = None, borrowed: frozenset[str] = frozenset()
    ) -> None:
        self.uri = location.rstrip("/") if "://" in location else str(Path(location).resolve())
        storage.make_folder(self.uri)
        self._lender = lender
        self._borrowed = borrowed

    def at(self, *parts: str) -> str:
        """URI of something in the run, or in the lender where it is `borrowed`."""
        if self._lender is not None and self.borrows(parts[0]):
            return self._lender.at(*parts)
        return "/".join((self.uri, *parts))

    @property
    def is_part(self) -> bool:
        """Whether it is one of the runs that another is made of."""
        return self._lender is not None

    def borrows(self, part: str) -> bool:
        """Whether a dataset is another run's."""
        return part in self._borrowed

    def make_folder(self, *parts: str) -> str:
        storage.make_folder("/".join((self.uri, *parts)))
        return self.at(*parts)

    @contextmanager
    def tracking_folder(self) -> Iterator[str]:
        """Yield a local folder for W&B's files, which are in the run directory after the body."""
        if "://" not in self.uri:
            yield self.uri
            return

        with tempfile.TemporaryDirectory(prefix="rejoinder-wandb-") as scratch:
            try:
                yield scratch
            finally:
                storage.copy_folder(Path(scratch), self.uri)

    def read_text(self, *parts: str) -> str | None:
        """Content of a file; None where there is none."""
        return storage.read_text("/".join((self.uri, *parts)))

    def read_json(self, *parts: str) -> Any:
        return storage.read_json("/".join((self.uri, *parts)))

    def write_json(self, content: Any, *parts: str) -> None:
        storage.write_json("/".join((self.uri, *parts)), content, indent=2)

    def write_text(self, content: str, *parts: str) -> None:
        """Replace a file of the run, never of the lender."""
        storage.write_text("/".join((self.uri, *parts)), content)

    def delete(self, *parts: str) -> None:
        storage.delete_folder("/".join((self.uri, *parts)))

    def delete_file(self, *parts: str) -> None:
        storage.delete_file("/".join((self.uri, *parts)))


def locate(location: str) -> str:
    """Return the path or URI of a run; a bare name lies under runs/."""
    if location.startswith("~"):  # a shell expands it at the start of a word only: not in RUN=~/run
        location = str(Path(location).expanduser())
    return location if "/" in location else str(Path("runs") / location)


def key_of(*parts: Any) -> str:
    """A short hash of what a stage's output depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    """What JSON takes: of a set, whose order is another in each process, its sorted elements."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def circumstances() -> dict[str, Any]:
    """Versions, code and machine that a run was made with."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return {
        "git_commit": commit.stdout.strip() or None,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "machine": platform.platform(),
        "command": list(map(storage.without_credentials, sys.argv)),
    }


def locate_finished(location: str | None) -> str:
    """Return the path or URI of a run, by default of the one under runs/ that last finished its index.

    Raises:
        ValueError: no location is given, and there is no such run.
    """
    if location is not None:
        return locate(location)

    markers = Path("runs").glob("*/stages/index.json")
    newest = max(markers, key=lambda marker: marker.stat().st_mtime, default=None)
    if newest is None:
        raise ValueError("no finished run under runs/; `make distill` makes one")
    return str(newest.parent.parent)


def provenance() -> dict[str, Any]:
    """What reports show of them: `date`, `machine`, `command`, `git_commit` and `versions` by package."""
    where = circumstances()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": where["machine"],
        "command": shlex.join(where["command"]),
        "git_commit": where["git_commit"],
        "versions": where["packages"],
    }
