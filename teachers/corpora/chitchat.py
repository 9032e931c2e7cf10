"""Questions that people asked in chitchat-dataset, and their answers as the documents to be found.

So a search can be tried with what is packaged: most such questions lean on the turns before them.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from teachers.corpora.conversations import CHITCHAT, Message, clean, read

_MAX_CHARACTERS = 400
_TURNS = 6  # of a conversation so far
# Shorter ones ask, or say, too little to be found by.
_QUESTION_WORDS, _ANSWER_WORDS = 3, 8
_SWAPPED = {"user": "assistant", "assistant": "user"}


class _Asked(NamedTuple):
    conversation_id: str
    turn: int
    """Of the question."""
    turns: list[Message]
    """Of the whole conversation."""


def documents() -> Iterator[tuple[str, Any]]:
    """(name, row of a corpus) of each answer."""
    for asked in _asked():
        name = f"{asked.conversation_id}-{asked.turn}"
        yield name, {"doc_id": name, "text": asked.turns[asked.turn + 1]["content"]}


def questions() -> Iterator[tuple[str, Any]]:
    """(name, row of questions); answers to earlier ones, which the conversation itself has, are ignored."""
    earlier: list[str] = []
    of = ""
    for conversation_id, turn, turns in _asked():
        if conversation_id != of:
            earlier, of = [], conversation_id
        name = f"{conversation_id}-{turn}"
        context = turns[max(0, turn + 1 - _TURNS) : turn + 1]
        if context[-1]["role"] == "assistant":  # whoever asks is the user
            context = [{**message, "role": _SWAPPED[message["role"]]} for message in context]
        yield (
            name,
            {
                "id": name,
                "conversation_id": conversation_id,
                "messages": context,
                "positives": [name],
                "ignore": list(earlier),
            },
        )
        earlier.append(name)


def _asked() -> Iterator[_Asked]:
    for conversation_id, row in read(CHITCHAT):
        try:
            turns = clean(row, _MAX_CHARACTERS).messages
        except ValueError:  # of more than two people
            continue
        for turn in range(len(turns) - 1):
            question, answer = turns[turn]["content"], turns[turn + 1]["content"]
            if (
                question.endswith("?")
                and len(question.split()) >= _QUESTION_WORDS
                and len(answer.split()) >= _ANSWER_WORDS
            ):
                yield _Asked(conversation_id, turn, turns)
