"""Endpoint teachers for tests, and a server that answers as a test has it."""

import json
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from teachers.config import EndpointTeacher, GenerateConfig
from teachers.corpora.conversations import Message
from teachers.engines.openai_endpoint import Endpoint
from teachers.engines.protocol import Prompt

KEY = "sk-test-5f1c9a"
KEY_ENV = "REJOINDER_TEST_KEY"
CONTEXT: list[Message] = [{"role": "user", "content": "hey how are you doing today?"}]
OTHER: list[Message] = [{"role": "user", "content": "do you like music?"}]
CONFIG = GenerateConfig(max_tokens=12)

Answer = tuple[int, dict[str, str], dict[str, Any] | str]
GOOD: Answer = (
    200,
    {},
    {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]},
)


def endpoint(base_url: str, **settings: Any) -> Endpoint:
    config = {"model": "tiny", "api_key_env": KEY_ENV, "max_retries": 0, **settings}
    return Endpoint("friend", EndpointTeacher(kind="endpoint", base_url=base_url, **config))


def prompts(number: int) -> list[Prompt]:
    return [Prompt(CONTEXT, "", seed) for seed in range(number)]


def assert_hidden(key: str, error: BaseException) -> None:
    """Neither a log nor what Ray sends to the driver shows the key."""
    assert key not in "".join(traceback.format_exception(error))
    assert key.encode() not in pickle.dumps(error)


@dataclass
class StandIn:
    """A stand-in for a server, and the requests that it got."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0


def answering(answer: Callable[[dict[str, Any]], Answer]) -> AbstractContextManager[StandIn]:
    """A server that answers by the body of a request."""
    return stand_in(lambda _: GOOD, by_body=answer)


@contextmanager
def stand_in(
    answer: Callable[[int], Answer],
    takes_s: float = 0,
    by_body: Callable[[dict[str, Any]], Answer] | None = None,
) -> Iterator[StandIn]:
    """A server that answers by the number of earlier requests."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                earlier = len(requests.bodies)
                requests.bodies.append(body)
                requests.times.append(time.monotonic())
                requests.in_flight += 1
                requests.most_in_flight = max(requests.most_in_flight, requests.in_flight)
            time.sleep(takes_s)
            status, headers, content = by_body(body) if by_body else answer(earlier)
            with lock:
                requests.in_flight -= 1
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(content, str) else "application/json")
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write((content if isinstance(content, str) else json.dumps(content)).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    requests = StandIn(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def failing(status: int, message: str = "no", headers: dict[str, str] | None = None) -> Answer:
    return status, headers or {}, {"error": {"message": message}}


def written(message: Any, finish_reason: str = "stop") -> Answer:
    return 200, {}, {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}
