"""Conversations with a run's responder, along the turns of users that were written before."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from tempfile import TemporaryDirectory

import pyarrow as pa
import torch

from serve.answers import answer_above
from serve.changes import Changes
from serve.config import IndexConfig
from serve.encoders import load_text_encoder
from serve.index import load_index
from serve.indexing import write_index
from serve.responder import Responder
from serve.versions import check_version, local_version
from student.encoders.encoder import EncoderSource, Tally
from student.evaluation.conversations import conversation_measures

UserTurns = Mapping[str, Sequence[Sequence[str]]]
"""The user's turns of each conversation, by the name of a set of conversations."""


def measure_conversations(run: str, user_turns: UserTurns) -> dict[str, dict[str, float]]:
    """The measures of conversations with the run's newest index, for each set of users' turns.

    Raises:
        ValueError: the run has no complete index.
    """
    index = load_index(local_version(run, check_version(run)))
    encoder = load_text_encoder(run, index, "torch", torch.get_num_threads())
    responder = Responder(index, encoder, Changes())

    measures = {}
    for name, conversations in user_turns.items():
        answers = [answers_to(responder, turns) for turns in conversations]
        measures[name] = conversation_measures(conversations, answers)
    return measures


def mean_conversations(
    students: Sequence[EncoderSource],
    responses: pa.Table,
    user_turns: UserTurns,
    context_turns: int,
    tally: Tally,
) -> dict[str, dict[str, float]]:
    """The means over students of what `measure_conversations` returns, with `responses` (RESPONSE_SET).

    `context_turns` are those that the students read.
    """
    measured: list[dict[str, dict[str, float]]] = []
    for student in students:
        with TemporaryDirectory(prefix="rejoinder-conversations-") as run:
            write_index(responses, student, run, IndexConfig(), context_turns, tally)
            measured.append(measure_conversations(run, user_turns))

    means: dict[str, dict[str, float]] = {}
    for name, measures in measured[0].items():
        means[name] = {measure: fmean(one[name][measure] for one in measured) for measure in measures}
    return means


def answers_to(responder: Responder, user_turns: Sequence[str]) -> list[str | None]:
    """The answer to each turn, with the earlier turns and answers as its context; None without an answer."""
    messages: list[dict[str, str]] = []
    answers: list[str | None] = []

    for turn in user_turns:
        messages.append({"role": "user", "content": turn})
        retrieved = responder.respond(messages, 1)
        answer = answer_above(retrieved, responder.min_score, responder).answer
        answers.append(answer)
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
    return answers
