"""How long a served run takes for one answer over HTTP, asked one after the other."""

import logging
import socket
import time
from collections.abc import Mapping, Sequence

import httpx
from ray import serve as ray_serve

from serve.app import deploy
from serve.config import ServeConfig

_WARM_UP = 10


def answer_latencies_ms(run: str, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[float]:
    """Milliseconds of each conversation's POST /respond, asked of one replica on a free port.

    Ray Serve is started for it and shut down.

    Raises:
        ValueError: see `deploy`.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # nobody is to talk to it
    url = deploy(ServeConfig(run=run, port=_free_port()))
    try:
        # No proxy of the environment: the server is on this machine.
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            for conversation in conversations[:_WARM_UP]:
                _ask(client, conversation)
            return [_ask(client, conversation) for conversation in conversations]
    finally:
        ray_serve.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _ask(client: httpx.Client, conversation: Sequence[Mapping[str, str]]) -> float:
    begin = time.perf_counter()
    answer = client.post("/respond", json={"messages": list(conversation), "k": 1})
    milliseconds = 1000 * (time.perf_counter() - begin)
    answer.raise_for_status()
    return milliseconds
