"""Conversations with a run's responder, along the turns of users that were written before."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from tempfile import TemporaryDirectory

import pyarrow as pa
import torch

from serve.answers import answer_above
from serve.changes import Changes
from serve.config import IndexConfig
from serve.encoders import load_encoders
from serve.index import load_index
from serve.indexing import write_index
from serve.responder import Responder
from serve.versions import check_version, local_version
from student.encoders.embedding import Tally
from student.evaluation.conversations import conversation_measures
from student.retrieval.reranking import Ranker
from teachers.storage import write_text

UserTurns = Mapping[str, Sequence[Sequence[str]]]
"""The user's turns of each conversation, by the name of a set of conversations."""


@dataclass(frozen=True)
class AnsweredTurn:
    """A turn of the user, and the responder's answer to it."""

    user: str
    answer: str | None
    """None where the responder is not sure of any."""
    score: float | None
    """Of the best response, answer or not; None where there is no response."""


Conversations = Mapping[str, Sequence[Sequence[AnsweredTurn]]]
"""Held conversations, by the name of their set."""


def hold_conversations(run: str, user_turns: UserTurns) -> Conversations:
    """Answer each set of users' turns with the run's newest index.

    Raises:
        ValueError: the run has no complete index.
    """
    index = load_index(local_version(run, check_version(run)))
    encoders = load_encoders(run, index, "torch", torch.get_num_threads())
    responder = Responder(index, encoders, Changes())

    conversations = {}
    for name, turns_of_set in user_turns.items():
        conversations[name] = [hold_conversation(responder, turns) for turns in turns_of_set]
    return conversations


def measure_conversations(conversations: Conversations) -> dict[str, dict[str, float]]:
    """The measures of each set of conversations, see `conversation_measures`."""
    measures = {}
    for name, conversations_of_set in conversations.items():
        user_turns, answers = [], []
        for turns in conversations_of_set:
            user_turns.append([turn.user for turn in turns])
            answers.append([turn.answer for turn in turns])
        measures[name] = conversation_measures(user_turns, answers)
    return measures


def write_conversations(uri: str, conversations: Conversations) -> None:
    """Write a JSON object a conversation and line: `set` and `turns`, each `user`, `answer` and `score`."""
    lines = []
    for name, conversations_of_set in conversations.items():
        for turns in conversations_of_set:
            row = {"set": name, "turns": [asdict(turn) for turn in turns]}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(uri, "".join(lines))


def transcript(turns: Sequence[Mapping[str, str | None]], num_lines: int) -> list[str]:
    """The first lines of a conversation as `write_conversations` writes its `turns`, a line a speaker."""
    lines = []
    for turn in turns:
        lines += [f"you: {turn['user']}", f"it: {turn['answer'] or '(no answer)'}"]
    return [" ".join(line.split()) for line in lines[:num_lines]]


def mean_conversations(
    rankers: Sequence[Ranker],
    responses: pa.Table,
    user_turns: UserTurns,
    context_turns: int,
    tally: Tally,
) -> dict[str, dict[str, float]]:
    """The means over rankers of what `measure_conversations` returns, with `responses` (RESPONSE_SET).

    `context_turns` are those that they read.
    """
    measured: list[dict[str, dict[str, float]]] = []
    for ranker in rankers:
        with TemporaryDirectory(prefix="rejoinder-conversations-") as run:
            write_index(responses, ranker, run, IndexConfig(), context_turns, tally)
            measured.append(measure_conversations(hold_conversations(run, user_turns)))

    means: dict[str, dict[str, float]] = {}
    for name, measures in measured[0].items():
        means[name] = {measure: fmean(one[name][measure] for one in measured) for measure in measures}
    return means


def hold_conversation(responder: Responder, user_turns: Sequence[str]) -> list[AnsweredTurn]:
    """Answer each turn, with the earlier turns and answers as its context."""
    messages: list[dict[str, str]] = []
    turns: list[AnsweredTurn] = []

    for user_turn in user_turns:
        messages.append({"role": "user", "content": user_turn})
        retrieved = responder.respond(messages, 1)
        answer = answer_above(retrieved, None, responder).answer
        score = retrieved.responses[0].score if retrieved.responses else None
        turns.append(AnsweredTurn(user_turn, answer, score))
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
    return turns
