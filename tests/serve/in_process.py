"""The served application without Ray: its routes, its gate and one replica in the test's own process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import DeploymentUnavailableError

from serve.app import ResponderReplica
from serve.config import ServeConfig

# The class below Ray's wrapper, whose constructor would start an application of its own.
_Replica: Any = ResponderReplica.func_or_class.__mro__[1]
REPLICA_NAMES: dict[str, Any] = _Replica.check_health.__globals__
"""The module's names as its methods see them: Ray copies them when it pickles the class."""


class NoReplicas:
    """A deployment's handle whose router knows no replica that lives."""

    def broadcast(self, method: str, *_: Any) -> Any:
        raise DeploymentUnavailableError(DeploymentID("default"))


class Parrot:
    """A generator that repeats the last message."""

    async def answer(self, messages: Sequence[dict[str, str]], best: str | None) -> tuple[str, str | None]:
        return messages[-1]["content"], best


@contextmanager
def only_replica(run: Path) -> Iterator[Any]:
    """A replica of the run, which `serve.app.app` calls as long as this lasts; it reaches no others."""
    replica = _Replica(ServeConfig(run=str(run)))
    replica._generator = Parrot()
    with pytest.MonkeyPatch.context() as patch:
        context = SimpleNamespace(servable_object=replica, deployment="default", app_name="default")
        patch.setattr("ray.serve.get_replica_context", lambda: context)
        patch.setattr("ray.serve.get_deployment_handle", lambda *_: NoReplicas())
        yield replica
