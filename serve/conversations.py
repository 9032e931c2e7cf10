"""Conversations with a responder, along the turns of users that were written before."""

from collections.abc import Sequence

from serve.answers import best_text
from serve.responder import Responder


def answers_to(responder: Responder, user_turns: Sequence[str]) -> list[str | None]:
    """The answer to each turn, with the earlier turns and answers as its context; None without an answer."""
    messages: list[dict[str, str]] = []
    answers: list[str | None] = []

    for turn in user_turns:
        messages.append({"role": "user", "content": turn})
        answer = best_text(responder.respond(messages, 1))
        answers.append(answer)
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
    return answers
