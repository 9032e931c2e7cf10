"""Questions of chitchat-dataset, and their answers as the documents to search.

They try a conversational search with packaged data: most of the questions depend on the turns before them.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from teachers.corpora.conversations import CHITCHAT, Message, clean, read

_MAX_CHARACTERS = 400
_CONTEXT_TURNS = 6
# Shorter questions and answers have too few words to search with, or to be retrieved by.
_MIN_QUESTION_WORDS, _MIN_ANSWER_WORDS = 3, 8
_SWAPPED = {"user": "assistant", "assistant": "user"}


class _QuestionTurn(NamedTuple):
    conversation_id: str
    place: int
    """Index of the question in `turns`; the answer is the next turn."""
    turns: list[Message]
    """All turns of the conversation."""


def documents() -> Iterator[tuple[str, Any]]:
    """Yield (name, row of a corpus) of each answer."""
    for conversation_id, place, turns in _question_turns():
        name = f"{conversation_id}-{place}"
        yield name, {"doc_id": name, "text": turns[place + 1]["content"]}


def questions() -> Iterator[tuple[str, Any]]:
    """Yield (name, row of questions); answers to the conversation's earlier questions are ignored."""
    earlier: list[str] = []
    current_id = ""

    for conversation_id, place, turns in _question_turns():
        if conversation_id != current_id:
            earlier, current_id = [], conversation_id

        name = f"{conversation_id}-{place}"
        context = turns[max(0, place + 1 - _CONTEXT_TURNS) : place + 1]
        if context[-1]["role"] == "assistant":  # the speaker of the question becomes the user
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


def _question_turns() -> Iterator[_QuestionTurn]:
    for conversation_id, row in read(CHITCHAT):
        try:
            turns = clean(row, _MAX_CHARACTERS).messages
        except ValueError:  # more than two speakers
            continue

        for place in range(len(turns) - 1):
            question, answer = turns[place]["content"], turns[place + 1]["content"]
            if (
                question.endswith("?")
                and len(question.split()) >= _MIN_QUESTION_WORDS
                and len(answer.split()) >= _MIN_ANSWER_WORDS
            ):
                yield _QuestionTurn(conversation_id, place, turns)
