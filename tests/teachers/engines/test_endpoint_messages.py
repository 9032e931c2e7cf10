"""Messages between endpoint teachers and servers: how conversations are laid out, and what answers hold."""

from collections.abc import Callable
from typing import Any

import pytest

from teachers.corpora.conversations import Message
from teachers.engines.protocol import Prompt
from tests.teachers.engines.endpoints import (
    CONFIG,
    CONTEXT,
    GOOD,
    OTHER,
    Answer,
    answering,
    endpoint,
    failing,
    prompts,
    stand_in,
    written,
)

pytestmark = pytest.mark.usefixtures("key")


def test_a_request_holds_the_system_prompt_and_the_settings() -> None:
    with stand_in(lambda _: GOOD) as server:
        teacher = endpoint(server.url, api_key_env=None, concurrency=1)
        teacher.generate([Prompt(CONTEXT, "Be nice.", 7), Prompt(CONTEXT, "", 8)], CONFIG)
    settings = {"model": "tiny", "n": 1, "temperature": 0.8, "top_p": 0.95, "max_tokens": 12}
    system = {"role": "system", "content": "Be nice."}
    assert server.bodies == [
        {**settings, "seed": 7, "messages": [system, *CONTEXT]},
        {**settings, "seed": 8, "messages": CONTEXT},
    ]


def _roles(body: dict[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


def _alternating(body: dict[str, Any]) -> Answer:
    """As a server whose template wants the user to begin, after a system prompt."""
    roles = [role for role in _roles(body) if role != "system"]
    pattern = ["user", "assistant"] * len(roles)
    return GOOD if roles == pattern[: len(roles)] else failing(400, "roles must alternate")


def _without_system(body: dict[str, Any]) -> Answer:
    return failing(400, "System role not supported") if "system" in _roles(body) else _alternating(body)


def _without_empty_turns(body: dict[str, Any]) -> Answer:
    has_empty = any(not message["content"] for message in body["messages"])
    return failing(422, "content must not be empty") if has_empty else _alternating(body)


@pytest.mark.parametrize(
    ("server_answers", "roles"),
    [
        (lambda _: GOOD, ["system", "assistant", "user"]),
        (_alternating, ["system", "user", "assistant", "user"]),
        (_without_system, ["user", "assistant", "user"]),
        (_without_empty_turns, ["system", "user"]),
    ],
)
def test_a_conversation_is_laid_out_as_the_server_takes_it(
    server_answers: Callable[[dict[str, Any]], Answer], roles: list[str]
) -> None:
    turns: list[Message] = [{"role": "assistant", "content": "hello!"}, *CONTEXT]
    with answering(server_answers) as server:
        samples = endpoint(server.url).generate(
            [Prompt(turns, "Be kind.", seed) for seed in range(4)], CONFIG
        )
        assert [(sample.text, sample.error) for sample in samples] == [("hi", None)] * 4
        num_requests = len(server.bodies)
        [body] = [body for body in server.bodies if _roles(body) == roles and body["seed"] == 3][-1:]
        assert body["messages"][-1] == CONTEXT[-1]
    assert num_requests <= 4 + 5 + 4, "a layout is tried once and not for every row"


def test_a_conversation_that_a_server_refuses_for_itself_is_one_row_s_error() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        return failing(400, "too long") if body["messages"] == CONTEXT else GOOD

    with answering(answer) as server:
        refused, sample = endpoint(server.url).generate([*prompts(1), Prompt(OTHER, "", 0)], CONFIG)
    assert refused.error == "teachers.friend: Error code: 400 - too long"
    assert sample.text == "hi"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": [{"type": "text", "text": "hi "}, {"type": "text", "text": "you"}]}, "hi you"),
        ({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "hi"}]}, "hi"),
        ({"content": None}, ""),
        ({"content": "hi", "reasoning_content": "They greet."}, "hi"),
        ({"content": "<think>They greet.</think>hi"}, "hi"),
        (None, ""),
    ],
)
def test_a_server_s_message_is_read_whatever_its_shape(message: Any, text: str) -> None:
    with stand_in(lambda _: written(message)) as server:
        [sample] = endpoint(server.url).generate(prompts(1), CONFIG)
    assert (sample.text, sample.error) == (text, None)


@pytest.mark.parametrize(
    ("content", "problem"),
    [("hi \ud83d", "expected text, got a lone surrogate"), ({"a": 1}, "expected text as content, got dict")],
)
def test_a_message_that_is_no_text_is_one_row_s_error(content: Any, problem: str) -> None:
    with stand_in(lambda earlier: written({"content": content}) if earlier == 0 else GOOD) as server:
        bad, good = endpoint(server.url, concurrency=1).generate(prompts(2), CONFIG)
    assert str(bad.error).startswith(f"teachers.friend: {problem}")
    assert (good.text, good.error) == ("hi", None)


def test_a_prompt_that_is_no_text_is_one_row_s_error() -> None:
    broken = Prompt([{"role": "user", "content": "hi \ud83d"}], "", 0)
    with stand_in(lambda _: GOOD) as server:
        bad, good = endpoint(server.url).generate([broken, *prompts(1)], CONFIG)
    assert str(bad.error).startswith("teachers.friend: expected text, got a lone surrogate")
    assert good.text == "hi"


def test_a_teacher_that_reasons_is_refused_unless_it_is_told_not_to() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        if body.get("chat_template_kwargs") == {"enable_thinking": False}:
            return GOOD
        return written({"content": None, "reasoning_content": "They greet, so"}, "length")

    with answering(answer) as server:
        with pytest.raises(ValueError, match=r"^teachers\.friend: its sample ends within its reasoning"):
            endpoint(server.url).check()
        assert "writes 'hi'" in endpoint(server.url, chat_template_kwargs={"enable_thinking": False}).check()
