"""The application behind a really running Ray Serve, asked over HTTP."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from ray import serve as ray_serve

from serve.app import build, deploy
from serve.config import ServeConfig

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def url(small_run: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        yield deploy(ServeConfig(run=str(small_run), port=port, top_k_limit=10))
    finally:
        ray_serve.shutdown()


def ask(url: str, body: bytes | None = None) -> tuple[int, Any]:
    """The status and the decoded JSON of a GET, or of a POST of `body`."""
    try:
        with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_the_application_answers_over_http(url: str) -> None:
    assert ask(f"{url}/health") == (200, {"status": "ok", "responses": 4})

    status, answer = ask(f"{url}/respond", json.dumps({"messages": HELLO, "k": 2}).encode())
    assert status == 200
    assert len(answer["responses"]) == 2
    assert set(answer["responses"][0]) == {"id", "text", "score", "source"}

    # More than there are: all of them.
    status, answer = ask(f"{url}/respond", json.dumps({"messages": HELLO, "k": 10}).encode())
    assert (status, len(answer["responses"])) == (200, 4)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{not json", "JSON"),
        (b"\xff\xfe", ""),
        (b'{"messages": []}', "messages"),
        (b"{}", "messages"),
        (json.dumps({"messages": HELLO, "k": 0}).encode(), "k"),
        (json.dumps({"messages": HELLO, "k": 11}).encode(), "k: Input should be at most 10"),
        (json.dumps({"messages": HELLO, "top": 1}).encode(), "top"),
        (json.dumps({"messages": [{"role": "robot", "content": "hello"}]}).encode(), "messages.0.role"),
        (json.dumps({"messages": [{"role": "user", "content": " "}]}).encode(), "messages.0.content"),
        (
            json.dumps({"messages": [{"role": "user", "content": "a" * 20_001}]}).encode(),
            "messages.0.content",
        ),
        (json.dumps({"messages": [{"role": "system", "content": "hello"}]}).encode(), "messages"),
    ],
)
def test_a_wrong_request_answers_4xx_with_one_line_that_names_it(url: str, body: bytes, named: str) -> None:
    status, answer = ask(f"{url}/respond", body)
    assert 400 <= status < 500
    assert isinstance(answer["detail"], str)
    assert named in answer["detail"]
    assert "\n" not in answer["detail"]


def test_a_run_without_an_index_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no complete index"):
        build(ServeConfig(run=str(tmp_path)))
