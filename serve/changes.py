"""Single responses added to and withdrawn from a run, whatever version of its index is served.

Each change is a file of its own under `changes/`, so that they outlast restarts and come from anywhere.
"""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from serve.response_set import response_id
from teachers.storage import list_names, read_json, write_text


@dataclass(frozen=True)
class Changes:
    """Differences from the response set of the index."""

    added: Mapping[str, str] = field(default_factory=dict)
    """Response id -> text."""
    withdrawn: frozenset[str] = frozenset()
    """Response ids."""


def read_changes(run: str) -> Changes:
    """All changes of a run; a later change overrides an earlier one.

    Raises:
        ValueError: a file is damaged; the message names it.
    """
    added: dict[str, str] = {}
    withdrawn: set[str] = set()
    for name in list_names(f"{run}/changes"):
        if not name.endswith(".json"):
            continue
        file = f"{run}/changes/{name}"
        try:
            change = read_json(file)
            texts, ids = change["add"], change["withdraw"]
        except (ValueError, KeyError) as error:
            raise ValueError(f"{file}: expected a change of responses: {error}") from error

        for text in texts:
            added[response_id(text)] = text
            withdrawn.discard(response_id(text))
        for withdrawn_id in ids:
            added.pop(withdrawn_id, None)
            withdrawn.add(withdrawn_id)

    return Changes(added, frozenset(withdrawn))


def write_change(run: str, add: Sequence[str], withdraw: Sequence[str]) -> None:
    """Add texts, then withdraw response ids; adding a withdrawn text brings it back."""
    change = {"add": list(add), "withdraw": list(withdraw)}
    name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
    write_text(f"{run}/changes/{name}", json.dumps(change, ensure_ascii=False))
