"""How long a served run takes for one answer over HTTP, asked one after the other."""

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
_BEST_OF: dict[Route, int] = {"/respond": 1, "/search": 10}  # how many answers are asked for


def answer_latencies_ms(
    run: str, conversations: Sequence[Sequence[Mapping[str, str]]], route: Route
) -> list[float]:
    """Milliseconds of each conversation's POST, asked of one replica on a free port.

    Ray Serve is started for it and shut down.

    Raises:
        ValueError: see `deploy`.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # nobody is to talk to it
    url = deploy(ServeConfig(run=run, port=free_port()))
    try:
        # No proxy of the environment: the server is on this machine.
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            for conversation in conversations[:_WARM_UP]:
                _ask(client, route, conversation)
            return [_ask(client, route, conversation) for conversation in conversations]
    finally:
        ray_serve.shutdown()


def _ask(client: httpx.Client, route: Route, conversation: Sequence[Mapping[str, str]]) -> float:
    begin = time.perf_counter()
    answer = client.post(route, json={"messages": list(conversation), "k": _BEST_OF[route]})
    milliseconds = 1000 * (time.perf_counter() - begin)
    answer.raise_for_status()
    return milliseconds
