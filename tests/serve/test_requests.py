"""Conversations and options as clients of chat APIs send them: tools, parts, nulls."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve.app import app
from serve.chat_endpoint import ChatEndpoint, EndpointError
from serve.config import EndpointConfig
from teachers.texts import response_id
from tests.conftest import ADMIN_KEY
from tests.http_server import chat_completion, json_server
from tests.serve.conftest import make_run
from tests.serve.in_process import only_replica

HELLO = {"role": "user", "content": "hello"}
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    run = make_run(tmp_path_factory.mktemp("requests") / "chat", "dense")
    with only_replica(run):
        yield TestClient(app, raise_server_exceptions=False)


def test_a_replica_logs_uris_without_credentials(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    try:
        try:
            raise ValueError("s3://KEY:SECRET@bucket/run/changes/1.json: expected a change")
        except ValueError as error:
            logger.error(f"{error}; version 1 stays", exc_info=True)
    finally:
        logger.removeHandler(caplog.handler)
    assert "s3://bucket/run/changes/1.json: expected a change; version 1 stays" in caplog.text
    assert "ValueError: s3://bucket/run" in caplog.text
    assert "SECRET" not in caplog.text


def responses(client: TestClient, messages: list[dict[str, Any]]) -> Any:
    answer = client.post("/respond", json={"messages": messages})
    assert answer.status_code == 200, answer.text
    return answer.json()["responses"]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function"}]},
        {"role": "assistant", "content": "", "refusal": None},
        {"role": "assistant", "content": []},
        {"role": "tool", "content": "never cook fish", "tool_call_id": "1"},
        {"role": "tool", "content": "fish " * 10_000, "tool_call_id": "1"},
        {"role": "tool", "content": [{"type": "text", "text": "good night"}], "tool_call_id": "1"},
        {"role": "function", "content": "good night", "name": "look_up"},
        {"role": "developer", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "system", "content": ""},
        {"role": "user", "content": None},
        {"role": "user", "content": [{"type": "text", "text": None}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
    ],
)
def test_a_message_without_a_turns_text_is_passed_over(client: TestClient, message: dict[str, Any]) -> None:
    expected = responses(client, [HELLO])
    assert responses(client, [message, HELLO]) == expected
    assert responses(client, [HELLO, message]) == expected

    # Alone there is nothing to answer.
    refused = client.post("/respond", json={"messages": [message]})
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("messages: expected text")


def test_the_parts_that_are_text_are_the_message(client: TestClient) -> None:
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": None},
        {"type": "text", "text": "good"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "text", "text": "night"},
    ]
    answered = responses(client, [HELLO, {"role": "user", "content": parts}])
    assert answered == responses(client, [HELLO, {"role": "user", "content": "good night"}])
    # As a turn it is no answer, and None is no word of it.
    assert "good night" not in [response["text"] for response in answered]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (5, "messages.0.content.text: Input should be a valid string"),
        ([{"type": "text", "text": 5}], "messages.0.content.parts.0.text: Input should be a valid string"),
        ([{"text": "hello"}], "messages.0.content.parts.0.type: Field required"),
        (
            ["hello"],
            "messages.0.content.parts.0: Input should be a valid dictionary or object to extract fields from",
        ),
        ([{"type": "text", "text": "a" * 20_001}], "messages.0.content: expected at most 20000 characters"),
    ],
)
def test_content_that_is_neither_text_nor_parts_is_named(client: TestClient, content: Any, line: str) -> None:
    answer = client.post("/respond", json={"messages": [{"role": "user", "content": content}]})
    assert (answer.status_code, answer.json()["detail"]) == (422, line)


def test_null_stands_for_each_options_default(client: TestClient) -> None:
    nulls = dict.fromkeys(["n", "stream", "stream_options", "k", "sources", "min_score", "diversity"])
    body = {"model": "chat", "messages": [HELLO]}
    plain, null = client.post(CHAT, json=body), client.post(CHAT, json=body | nulls | {"temperature": None})
    assert null.status_code == 200, null.text
    assert null.json()["choices"] == plain.json()["choices"]
    assert null.json()["rejoinder"] == plain.json()["rejoinder"]

    stream = body | {"stream": True, "stream_options": {"include_usage": None}}
    lines = client.post(CHAT, json=stream).text.splitlines()
    assert lines[-2] == "data: [DONE]" and "usage" not in lines[-4]

    for path in ("/respond", "/search"):
        answer = client.post(path, json={"messages": [HELLO], "k": None})
        assert answer.json() == client.post(path, json={"messages": [HELLO]}).json()
    # What has no default may not be null.
    assert client.post(CHAT, json=body | {"model": None}).status_code == 422


@pytest.mark.parametrize(
    ("option", "value"), [("n", "2"), ("n", True), ("k", 2.5), ("min_score", "1"), ("stream", "yes")]
)
def test_an_option_of_another_type_is_refused(client: TestClient, option: str, value: Any) -> None:
    answer = client.post(CHAT, json={"model": "chat", "messages": [HELLO], option: value})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith(f"{option}: ")
    assert answer.json()["error"]["param"] == option


def test_a_long_name_of_a_field_makes_no_long_line(client: TestClient) -> None:
    answer = client.post("/respond", json={"messages": [HELLO], "a\n" * 10_000: 1})
    line = answer.json()["detail"]
    assert answer.status_code == 422 and "\n" not in line and len(line) < 200


def test_a_replica_that_reaches_no_other_changes_itself(client: TestClient) -> None:
    for change in ({"add": ["see you"]}, {"withdraw": [response_id("see you")]}):
        answer = client.post("/admin/responses", json=change, headers=ADMIN)
        assert (answer.status_code, answer.json()["replicas"]) == (200, 1), answer.text


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_half_a_character_of_an_endpoint_is_replaced() -> None:
    with json_server(lambda _: (200, chat_completion("hi \ud83d"))) as url:
        endpoint = ChatEndpoint("fallback", EndpointConfig(url=url, model="m"))
        assert await endpoint.answer([HELLO], None) == ("hi ?", None)

    with json_server(lambda _: (200, chat_completion(" "))) as url:
        endpoint = ChatEndpoint("fallback", EndpointConfig(url=url, model="m"))
        with pytest.raises(EndpointError, match="the fallback answered without text"):
            await endpoint.answer([HELLO], None)
