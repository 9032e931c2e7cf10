"""Rewrites by teachers of the question that ends a conversation, so that it stands alone (DiSCo §3)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from teachers.config import GenerateConfig, Section
from teachers.corpora.conversations import Message
from teachers.dataset import AlignedReader, Rows, write_rows
from teachers.engines.protocol import Generation
from teachers.generation.config import RewritingConfig
from teachers.records import REWRITES, TARGETS
from teachers.scoring.config import TargetsConfig

_CONVERSATION, _EARLIER, _QUESTION = "{conversation}", "{earlier}", "{question}"
_PLACE = re.compile("|".join(map(re.escape, (_CONVERSATION, _EARLIER, _QUESTION))))
_SPEAKERS = {"user": "User", "assistant": "Assistant"}
_LABEL = re.compile(r"^(the last question|question|query|rewrite|rewritten)[^:\n]{0,30}:\s*", re.IGNORECASE)
_QUOTES = "\"'“”«»` "


class _PromptMessage(Section):
    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


_MESSAGES: TypeAdapter[list[_PromptMessage]] = TypeAdapter(
    Annotated[list[_PromptMessage], Field(min_length=1)]
)


@dataclass(frozen=True)
class RewritingPrompt:
    """The request to the teachers, as chat messages."""

    system_prompt: str
    messages: list[Message]
    """User's and assistant's in turn; a conversation's turns take the places in the last one."""


def read_prompt(config: RewritingConfig) -> RewritingPrompt:
    """Return the request to the teachers.

    Raises:
        ValueError: there is no such file, it is not a list of messages, or lacks a place for the question.
    """
    where = f"rewriting.prompt: {config.prompt}"
    try:
        messages = _MESSAGES.validate_python(yaml.safe_load(Path(config.prompt).read_text()))
    except OSError as error:
        raise ValueError(f"{where}: {error.strerror}") from None
    except (yaml.YAMLError, ValidationError):
        raise ValueError(f"{where}: expected a list of messages, each a `role` and a `content`") from None

    system_prompt = messages.pop(0).content.strip() if messages[0].role == "system" else ""
    turns: list[Message] = []
    for message in messages:
        turns.append({"role": message.role, "content": message.content.strip()})

    roles = [turn["role"] for turn in turns]
    # Of an odd number of messages in turn, the user has the first and the last.
    if len(roles) % 2 == 0 or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise ValueError(
            f"{where}: expected messages of user and assistant in turn after the system's, the user's last"
        )
    request = turns[-1]["content"]
    if _CONVERSATION not in request and _QUESTION not in request:
        raise ValueError(f"{where}: expected {_CONVERSATION} or {_QUESTION} in the last message")
    return RewritingPrompt(system_prompt, turns)


class Requests:
    """Requests to teachers: rows of EXAMPLES without a response, one for each of QUESTIONS, or of a split."""

    def __init__(self, questions_uri: str, prompt: RewritingPrompt, split: str | None = None) -> None:
        self._questions, self._prompt = Rows(questions_uri, split), prompt

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._questions:
            *examples, request = self._prompt.messages
            request = {**request, "content": _filled(request["content"], row["context"])}
            yield {"example_id": row["question_id"], "context": [*examples, request]}


def _filled(request: str, turns: list[Message]) -> str:
    places = {
        _CONVERSATION: transcript(turns),
        _EARLIER: transcript(turns[:-1]),
        _QUESTION: _one_line(turns[-1]),
    }
    return _PLACE.sub(lambda place: places[place[0]], request)


def transcript(turns: list[Message]) -> str:
    """Return turns as lines of speaker and text."""
    return "\n".join(f"{_SPEAKERS[turn['role']]}: {_one_line(turn)}" for turn in turns)


def _one_line(turn: Message) -> str:
    return " ".join(turn["content"].split())


def as_generation(config: RewritingConfig) -> GenerateConfig:
    """Return the settings of rewrites, made and stored as responses to the requests: one for each."""
    return GenerateConfig(
        samples=1,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        batch_size=config.batch_size,
        seed=config.seed,
    )


def write_rewrites(
    questions_uri: str, samples: Iterable[tuple[str, list[Generation]]], output_uri: str
) -> Counter[str]:
    """Write REWRITES of a teacher's responses to the `Requests`, in their order.

    Where a teacher wrote nothing, or failed, the original question takes its place, and is counted.
    """
    counts: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for row, (question_id, [sample]) in zip(Rows(questions_uri), samples, strict=True):
            assert row["question_id"] == question_id
            query = query_of(sample.text)
            counts["rewritten" if query else "left as they were"] += 1
            counts["cut"] += sample.truncated
            yield {"question_id": question_id, "query": query or row["context"][-1]["content"]}

    write_rows(output_uri, rows(), REWRITES)
    return counts


def write_human_rewrites(questions_uri: str, output_uri: str) -> Counter[str]:
    """Write REWRITES of the questions that have a human rewrite."""

    def rows() -> Iterator[dict[str, Any]]:
        for row in Rows(questions_uri):
            if row["rewrite"]:
                yield {"question_id": row["question_id"], "query": row["rewrite"]}

    return Counter(rewritten=write_rows(output_uri, rows(), REWRITES))


def write_rewrite_targets(
    questions_uri: str, rewrites: Mapping[str, str], output_uri: str, config: TargetsConfig
) -> Counter[str]:
    """Write TARGETS of the training questions whose candidates are the teachers' rewrites, by their weights.

    For a student whose vector of the conversation is to equal the rewrites'. `rewrites` maps a teacher to its
    REWRITES.

    Raises:
        ValueError: the weights are to be fitted, or all are 0.
    """
    if not isinstance(config.weights, dict):
        raise ValueError(
            "targets.weights: expected a weight for each teacher; of embeddings they cannot be fitted"
        )

    weights: dict[str, float] = {}
    tables: dict[str, AlignedReader] = {}
    for teacher, uri in rewrites.items():
        weights[teacher] = config.weights.get(teacher, 1.0)
        if weights[teacher]:
            tables[teacher] = AlignedReader(uri, "question_id")
    if not tables:
        raise ValueError(f"targets.weights = {config.weights}: expected a weight above 0, got only 0")
    counts: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for row in Rows(questions_uri):
            queries: dict[str, str] = {}
            for teacher, table in tables.items():
                rewrite = table.row_for(row["question_id"])
                if rewrite:
                    queries[teacher] = rewrite["query"]
            if row["split"] != "train":
                continue

            counts["with targets" if queries else "without targets"] += 1
            if queries:
                yield _target_row(row, queries, weights)

    write_rows(output_uri, rows(), TARGETS)
    for table in tables.values():
        table.check_end()
    return counts


def _target_row(
    question: dict[str, Any], queries: Mapping[str, str], weights: Mapping[str, float]
) -> dict[str, Any]:
    """Return the row of TARGETS of a question, whose candidates are the teachers' `queries`."""
    total = sum(weights[teacher] for teacher in queries)
    candidates: list[dict[str, str]] = []
    target_probs: list[float] = []
    for teacher, query in queries.items():
        candidates.append({"text": query, "source": "generated", "teacher": teacher})
        target_probs.append(weights[teacher] / total)

    return {
        "example_id": question["question_id"],
        "conversation_id": question["conversation_id"],
        "split": "train",
        "context": question["context"],
        "candidates": candidates,
        "target_probs": target_probs,
    }


def query_of(text: str) -> str:
    """Return a teacher's response as a query: its first line, without label and quotes around it."""
    for line in text.splitlines():
        unquoted = line.strip(_QUOTES)
        query = _LABEL.sub("", unquoted).strip(_QUOTES)
        if query:
            return query
    return ""
