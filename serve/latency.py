"""Latency of a served run over HTTP, for sequential requests."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import httpx
from ray import serve as ray_serve

from serve.config import ServeConfig
from serve.deployment import deploy
from serve.ingress import free_port

_WARM_UP = 10
Route = Literal["/respond", "/search"]
_TOP_K: dict[Route, int] = {"/respond": 1, "/search": 10}


def answer_latencies_ms(
    run: str, conversations: Sequence[Sequence[Mapping[str, str]]], route: Route
) -> list[float]:
    """Milliseconds of each conversation's POST, answered by one replica on a free port.

    Starts Ray Serve and shuts it down.

    Raises:
        ValueError: see `deploy`.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # no user talks to it
    url = deploy(ServeConfig(run=run, port=free_port()))

    try:
        # No proxy of the environment: the server is on this machine.
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            for conversation in conversations[:_WARM_UP]:
                _post_ms(client, route, conversation)

            return [_post_ms(client, route, conversation) for conversation in conversations]
    finally:
        ray_serve.shutdown()


def _post_ms(client: httpx.Client, route: Route, conversation: Sequence[Mapping[str, str]]) -> float:
    """Milliseconds of one POST."""
    begin = time.perf_counter()
    answer = client.post(route, json={"messages": list(conversation), "k": _TOP_K[route]})
    milliseconds = 1000 * (time.perf_counter() - begin)
    answer.raise_for_status()
    return milliseconds
