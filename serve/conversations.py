"""Conversations with a run's responder, along the turns of users that were written before."""

from collections.abc import Mapping, Sequence

import torch

from serve.answers import best_text
from serve.changes import Changes
from serve.encoders import load_text_encoder
from serve.index import load_index
from serve.responder import Responder
from serve.versions import check_version, local_version
from student.evaluation.conversations import conversation_measures


def measure_conversations(
    run: str, user_turns: Mapping[str, Sequence[Sequence[str]]]
) -> dict[str, dict[str, float]]:
    """The measures of conversations with the run's newest index, for each set of users' turns that has some.

    Raises:
        ValueError: the run has no complete index.
    """
    index = load_index(local_version(run, check_version(run)))
    encoder = load_text_encoder(run, index, "torch", torch.get_num_threads())
    responder = Responder(index, encoder, Changes())

    measures = {}
    for name, conversations in user_turns.items():
        if conversations:
            answers = [answers_to(responder, turns) for turns in conversations]
            measures[name] = conversation_measures(conversations, answers)
    return measures


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
