"""The messages of a conversation, in one of the shapes that chat data has.

OpenAI's `messages` (`role`, `content`), with tools, parts of content and names of several speakers, or
ShareGPT's `conversations` (`from`, `value`).
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from teachers.corpora.row_files import row_object

# Of OpenAI's format and of others'; what is None is no turn of the conversation.
_ROLES: dict[str, str | None] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": None,
    "developer": None,
    "tool": None,
    "function": None,
    "function_call": None,
    "observation": None,
}
_SYSTEM = frozenset({"system", "developer"})
COLUMNS = ("messages", "conversations")
# Of rows of other data sets, by the columns that they have: an error names the format that it recognised.
_FORMATS = {
    ("messages",): "OpenAI's `messages`",
    ("conversations",): "ShareGPT's `conversations`",
    ("_id", "text"): "BEIR's `_id` and `text`",
    ("doc_id", "text"): "a corpus's `doc_id` and `text`",
    ("instruction", "output"): "Alpaca's `instruction` and `output`",
    ("prompt", "completion"): "`prompt` and `completion`",
    ("prompt", "chosen"): "preferences' `prompt` and `chosen`",
}
_NUM_NAMES = 5
LONE_SURROGATE = "a lone surrogate, half of a character"


class Turn(NamedTuple):
    """A message of one of the two sides."""

    role: str
    """`user` or `assistant`"""
    text: str
    sender: str | None
    """Of OpenAI's `name`"""


def turns(row: Any, dropped: Counter[str]) -> Iterator[Turn]:
    """Yield the turns of a conversation; what is no turn is counted in `dropped`.

    Raises:
        ValueError: the row is not a conversation; the message says why.
    """
    for message in _messages(row):
        role, content, sender = _parts_of(message)
        if _ROLES[role] is None:
            dropped["system message" if role in _SYSTEM else "tool message"] += 1
            continue

        text = _text(content, dropped)
        if text is None:
            dropped["message without text"] += 1
            continue
        check_characters("a message", text)
        yield Turn(str(_ROLES[role]), text, sender)


def row_format(row: Any) -> str:
    """Return the name of a row's format: a data set's columns, or whatever else was read."""
    if isinstance(row, Exception):
        return "no JSON"
    if not isinstance(row, dict):
        return f"type {type(row).__name__}, not an object"

    for columns, name in _FORMATS.items():
        if all(column in row for column in columns):
            return name
    return _names(row)


def _names(row: dict[str, Any]) -> str:
    """Return the first names of a row's columns."""
    names = [f"`{str(name)[:40]}`" for name in list(row)[:_NUM_NAMES]]
    return ", ".join(names) or "nothing"


def _messages(row: Any) -> list[Any]:
    row = row_object(row)
    column = next((name for name in COLUMNS if name in row), None)
    if column is None:
        raise ValueError(f"no `messages` or `conversations`, but {_names(row)}")
    messages = row[column]
    if isinstance(messages, ValueError):
        raise messages
    if not isinstance(messages, list):
        raise ValueError(f"`{column}` is not a list")
    return messages


def _parts_of(message: Any) -> tuple[str, Any, str | None]:
    """Return role, content and sender of a message."""
    if not isinstance(message, dict):
        raise ValueError("a message is not an object")

    of_sharegpt = "from" in message and "role" not in message
    role = message.get("from" if of_sharegpt else "role")
    content = message.get("value" if of_sharegpt else "content")
    sender = message.get("name")
    if not isinstance(role, str) or role not in _ROLES:
        raise ValueError(f"unknown role {role!r}")
    if sender is not None and not isinstance(sender, str):
        raise ValueError("`name` is not a string")
    check_characters("`name`", sender or "")
    return role, content, sender


def check_characters(place: str, text: str) -> None:
    """Raise ValueError where a text has half of a character, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{LONE_SURROGATE}, in {place}") from None


def _text(content: Any, dropped: Counter[str]) -> str | None:
    """Return the text of a message's content; None where it has none, such as a call of a tool."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError("`content` is neither a string nor a list of parts")

    texts: list[str] = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            texts.append(text)
        else:
            dropped["part without text"] += 1
    return " ".join(texts) if texts else None
