"""Single responses added to and withdrawn from a run, whatever version of its index is served.

Each change is a file of its own under `changes/`, so that they outlast restarts and come from anywhere.
"""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow.fs

from serve.response_set import response_id
from teachers.dataset import open_uri


@dataclass(frozen=True)
class Changes:
    """What is different from the response set of the index."""

    added: Mapping[str, str] = field(default_factory=dict)
    """Response id -> text."""
    withdrawn: frozenset[str] = frozenset()
    """Response ids."""


def read_changes(run: str) -> Changes:
    """All changes of a run, the later ones over the earlier.

    Raises:
        ValueError: a file is damaged; the message names it.
    """
    filesystem, path = open_uri(f"{run}/changes")
    files = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
    added: dict[str, str] = {}
    withdrawn: set[str] = set()
    for file in sorted(file.path for file in files if file.path.endswith(".json")):
        with filesystem.open_input_stream(file) as stream:
            content = stream.read()
        try:
            change = json.loads(content)
            texts, ids = change["add"], change["withdraw"]
        except (ValueError, KeyError) as error:
            raise ValueError(f"{file} is no change of responses: {error}") from error
        for text in texts:
            added[response_id(text)] = text
            withdrawn.discard(response_id(text))
        for withdrawn_id in ids:
            added.pop(withdrawn_id, None)
            withdrawn.add(withdrawn_id)
    return Changes(added, frozenset(withdrawn))


def write_change(run: str, add: Sequence[str], withdraw: Sequence[str]) -> None:
    """Adds texts, then withdraws response ids; a text that was withdrawn comes back by adding it."""
    filesystem, path = open_uri(f"{run}/changes")
    filesystem.create_dir(path, recursive=True)
    name = f"{path}/{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
    with filesystem.open_output_stream(f"{name}.new") as stream:
        stream.write(json.dumps({"add": list(add), "withdraw": list(withdraw)}, ensure_ascii=False).encode())
    filesystem.move(f"{name}.new", name)
