"""What workers try, and how it ended: kept by the job, so that it outlives a worker and costs no request.

A process that dies leaves the attempt that it was at. The next worker then knows not to try the same again,
unless the whole node was lost: that says nothing about the rows.
"""

import time
import uuid
from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from teachers.engines.protocol import TeacherError
from teachers.inference.ledger import Attempt, Ledger
from teachers.inference.store import Row

# After so many rows in a row that took the process down, the engine is at fault and not the rows.
_DEATHS_IN_A_ROW = 3
# Ray calls a node lost that has not answered for 15 s.
_NODE_LOSS_NOTICED_S = 40.0


def start_ledger() -> Any:
    """Start the actor on this node, where the job runs; it ends with its last handle."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    # On a node that is being lost a worker loses the connection before it ends: without retries it would
    # tell that as an error of its rows' code, which ends the job.
    options = {"num_cpus": 0, "max_task_retries": -1, "scheduling_strategy": here}
    return ray.remote(Ledger).options(**options).remote()


class Attempts:
    """A worker's own view of the ledger."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self._node = ray.get_runtime_context().get_node_id()

    def begin_file(self, file: str) -> bool:
        """Note that this worker begins a file of work; return whether one has begun it before."""
        has_begun: bool = ray.get(self._ledger.begin_file.remote(file))
        return has_begun

    def state(self, key: str) -> tuple[list[Row] | None, str | None]:
        """Return what was made at `key`, and why an attempt failed: not one that its node took with it."""
        made, attempt = ray.get(self._ledger.state.remote(key))
        if attempt is None:
            return made, None
        if not attempt.has_ended and attempt.node != self._node and _is_lost(attempt.node, _alive_nodes):
            self.forget(key)
            return made, None
        return made, attempt.error

    def start(self, key: str, error: str) -> None:
        """Note an attempt, with the error that holds where its process ends."""
        self._put(key, Attempt(self._node, error, has_ended=False))

    def fail(self, key: str, error: str) -> None:
        """Note why an attempt failed, just before its process ends itself."""
        self._put(key, Attempt(self._node, error, has_ended=True))

    def forget(self, key: str) -> None:
        """Note that nothing was tried."""
        self._put(key, None)

    def succeed(self, key: str) -> None:
        """End an attempt."""
        ray.get(self._ledger.succeed.remote(key))

    def keep(self, key: str, made: list[Row]) -> None:
        """Keep the rows made of a part of a batch for the next worker, should this one break at another."""
        ray.get(self._ledger.keep.remote(key, made))

    def count_death(self, error: str) -> None:
        """Count a row that took the process down.

        Raises:
            TeacherError: one row after the other did.
        """
        deaths = ray.get(self._ledger.count_death.remote(error, uuid.uuid4().hex))
        if len(deaths) >= _DEATHS_IN_A_ROW:
            raise TeacherError(f"its engine failed at {len(deaths)} rows in a row, the last time: {error}")

    def _put(self, key: str, attempt: Attempt | None) -> None:
        ray.get(self._ledger.put.remote(key, attempt))


def _alive_nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _is_lost(node: str, alive_nodes: Callable[[], set[str]]) -> bool:
    """Whether a node is lost; waits as long as Ray may take to notice."""
    deadline = time.monotonic() + _NODE_LOSS_NOTICED_S
    while node in alive_nodes():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True
