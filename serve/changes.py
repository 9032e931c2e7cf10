"""Single responses added, withdrawn, restored and approved, whatever version of a run's index is served.

Each change is a file of its own under `changes/`, so that they outlast restarts and come from anywhere. The
file `changes/newest` names the one that was written last: whoever has seen it has seen them all.
"""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from teachers.storage import list_names, read_json, read_text, write_text
from teachers.texts import response_id

_NEWEST = "newest"

State = Literal["unreviewed", "approved", "withdrawn"]


@dataclass(frozen=True)
class Changes:
    """Differences from the response set of the index, and the decisions of its reviewers."""

    added: Mapping[str, str] = field(default_factory=dict)
    """Response id -> text, of responses that were withdrawn later, too: they can be restored."""
    withdrawn: frozenset[str] = frozenset()
    """Response ids that no answer has."""
    approved: frozenset[str] = frozenset()
    """Response ids; none of them is withdrawn."""

    def state(self, response_id: str) -> State:
        """The last decision about a response."""
        if response_id in self.withdrawn:
            return "withdrawn"
        return "approved" if response_id in self.approved else "unreviewed"


def read_changes(run: str) -> Changes:
    """All changes of a run; a later change overrides an earlier one.

    Raises:
        ValueError: a file is damaged; the message names it.
    """
    added: dict[str, str] = {}
    states: dict[str, State] = {}
    for name in list_names(f"{run}/changes"):
        if not name.endswith(".json"):
            continue
        change = _read_change(f"{run}/changes/{name}")

        for text in change["add"]:
            added[response_id(text)] = text
            if states.get(response_id(text)) == "withdrawn":
                states[response_id(text)] = "unreviewed"
        # Files from before there were reviews have neither `restore` nor `approve`.
        states.update(dict.fromkeys(change["withdraw"], "withdrawn"))
        states.update(dict.fromkeys(change.get("restore", []), "unreviewed"))
        states.update(dict.fromkeys(change.get("approve", []), "approved"))

    withdrawn = frozenset(id for id, state in states.items() if state == "withdrawn")
    approved = frozenset(id for id, state in states.items() if state == "approved")
    return Changes(added, withdrawn, approved)


def newest_change(run: str) -> str | None:
    """The name of the change that was written last; None where there is none."""
    return read_text(f"{run}/changes/{_NEWEST}")


@cache  # a file never changes once it is written, and a review writes thousands
def _read_change(file: str) -> dict[str, Any]:
    try:
        change: dict[str, Any] = read_json(file)
        _ = change["add"], change["withdraw"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{file}: expected a change of responses: {error}") from error
    return change


def write_change(
    run: str,
    add: Sequence[str] = (),
    withdraw: Sequence[str] = (),
    restore: Sequence[str] = (),
    approve: Sequence[str] = (),
) -> None:
    """Add texts, then withdraw, restore and approve response ids.

    Adding a withdrawn text brings it back, as approving its id does. A restored response is unreviewed.
    """
    change = {
        "add": list(add),
        "withdraw": list(withdraw),
        "restore": list(restore),
        "approve": list(approve),
    }
    name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
    write_text(f"{run}/changes/{name}", json.dumps(change, ensure_ascii=False))
    # After the file that it names: of two writers at once each is seen with what it has named.
    write_text(f"{run}/changes/{_NEWEST}", name)
