"""Filters for generated responses, as one list: each says in a few words why a text is dropped."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from teachers.conversations import Message

_SPACE = re.compile(r"\s+")
_ROLE = re.compile(r"(^|\s)(A|B|user|assistant|system|human|bot)\s*:|<\|?\w+\|?>", re.IGNORECASE)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Generation:
    """One sample of a teacher."""

    text: str
    truncated: bool
    """The token limit ended it, not the teacher."""


def _normalised(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))


def is_empty(generation: Generation, context: list[Message]) -> bool:
    return not _WORD.search(generation.text)


def is_truncated(generation: Generation, context: list[Message]) -> bool:
    return generation.truncated


def is_echo(generation: Generation, context: list[Message]) -> bool:
    """The text repeats a turn of the context."""
    text = _normalised(generation.text)
    return any(text == _normalised(message["content"]) for message in context)


def is_repetitive(generation: Generation, context: list[Message]) -> bool:
    """Fewer than half of the words of a text of eight or more are distinct."""
    words = _normalised(generation.text).split()
    return len(words) >= 8 and len(set(words)) < len(words) / 2


def is_role_confused(generation: Generation, context: list[Message]) -> bool:
    """The text speaks for another speaker or shows the template's markers."""
    return bool(_ROLE.search(generation.text))


FILTERS: list[tuple[str, Callable[[Generation, list[Message]], bool]]] = [
    ("empty", is_empty),
    ("truncated", is_truncated),
    ("echoed", is_echo),
    ("repetitive", is_repetitive),
    ("role-confused", is_role_confused),
]


def sift(generations: list[Generation], context: list[Message]) -> tuple[list[str], list[dict[str, str]]]:
    """Kept texts, distinct, and what was dropped as `{"text", "reason"}`."""
    kept: list[str] = []
    seen: set[str] = set()
    rejected: list[dict[str, str]] = []
    for generation in generations:
        text = _SPACE.sub(" ", generation.text).strip()
        reason = next((name for name, drops in FILTERS if drops(generation, context)), None)
        if reason is None and _normalised(text) in seen:
            reason = "duplicate"
        if reason is None:
            seen.add(_normalised(text))
            kept.append(text)
        else:
            rejected.append({"text": text, "reason": reason})
    return kept, rejected
