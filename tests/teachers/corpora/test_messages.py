"""Conversations of the shapes that chat data has."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teachers.corpora.messages import turns

CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
PARTS = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "x"}}, "here"]


def turns_and_drops(row: Any) -> tuple[list[tuple[str, str]], dict[str, int]]:
    dropped: Counter[str] = Counter()
    spoken = [(turn.role, turn.text) for turn in turns(row, dropped)]
    return spoken, dict(dropped)


def test_tools_and_instructions_are_dropped_and_the_conversation_kept() -> None:
    messages = [
        {"role": "developer", "content": "Be nice."},
        {"role": "user", "content": "weather?"},
        CALL,
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
        {"role": "assistant", "content": "It rains."},
    ]
    assert turns_and_drops({"messages": messages}) == (
        [("user", "weather?"), ("assistant", "It rains.")],
        {"system message": 1, "message without text": 1, "tool message": 1},
    )


def test_content_in_parts_is_its_texts() -> None:
    messages = [
        {"role": "user", "content": PARTS},
        {"role": "user", "content": [{"type": "text", "text": None}]},
    ]
    assert turns_and_drops({"messages": messages}) == (
        [("user", "look here")],
        {"part without text": 2, "message without text": 1},
    )


def test_sharegpts_names_are_read() -> None:
    row = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}
    assert turns_and_drops(row) == ([("user", "hi"), ("assistant", "hello")], {})


MESSAGES = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "tool", "developer", "robot"]),
        "content": st.one_of(st.none(), st.text(), st.lists(st.one_of(st.text(), st.just({"type": "x"})))),
    }
)


@settings(max_examples=200, deadline=None)
@given(st.lists(MESSAGES, max_size=6))
def test_every_message_is_a_turn_or_counted_or_its_conversation_refused(messages: list[Any]) -> None:
    try:
        spoken, dropped = turns_and_drops({"messages": messages})
    except ValueError as error:
        assert "role" in str(error) or "surrogate" in str(error)
        return
    dropped.pop("part without text", None)
    assert len(spoken) + sum(dropped.values()) == len(messages)


@pytest.mark.parametrize("row", [None, 3, "text", [], {"messages": {}}, {"messages": [None]}])
def test_what_is_no_conversation_is_refused(row: Any) -> None:
    with pytest.raises(ValueError):
        turns_and_drops(row)
