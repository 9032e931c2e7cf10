"""How long a served run takes for one answer over HTTP, asked one after the other."""

import time
from collections.abc import Mapping, Sequence

import httpx
from ray import serve as ray_serve

from serve.app import deploy
from serve.config import ServeConfig

_WARM_UP = 10


def answer_latencies_ms(
    config: ServeConfig, conversations: Sequence[Sequence[Mapping[str, str]]]
) -> list[float]:
    """Milliseconds of each conversation's POST /respond; Ray Serve is started for it and shut down.

    Raises:
        ValueError: see `deploy`.
    """
    url = deploy(config)
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            for conversation in conversations[:_WARM_UP]:
                _ask(client, conversation)
            return [_ask(client, conversation) for conversation in conversations]
    finally:
        ray_serve.shutdown()


def _ask(client: httpx.Client, conversation: Sequence[Mapping[str, str]]) -> float:
    begin = time.perf_counter()
    answer = client.post("/respond", json={"messages": list(conversation), "k": 1})
    milliseconds = 1000 * (time.perf_counter() - begin)
    answer.raise_for_status()
    return milliseconds
