"""Teachers rewrite the question that ends a conversation, so that it stands alone (DiSCo §3)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from teachers.config import Section
from teachers.corpora.conversations import Message
from teachers.dataset import AlignedReader, Rows, write_rows
from teachers.engines.protocol import Generation
from teachers.generation.config import GenerateConfig, RewritingConfig
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
    """The request to the teachers.

    Raises:
        ValueError: there is no such file, it is no list of messages, or has no place for the question.
    """
    where = f"rewriting.prompt: {config.prompt}"
    try:
        messages = _MESSAGES.validate_python(yaml.safe_load(Path(config.prompt).read_text()))
    except OSError as error:
        raise ValueError(f"{where}: {error.strerror}") from None
    except (yaml.YAMLError, ValidationError):
        raise ValueError(f"{where} is no list of messages, each a `role` and a `content`") from None
    system_prompt = messages.pop(0).content.strip() if messages[0].role == "system" else ""
    turns = [{"role": message.role, "content": message.content.strip()} for message in messages]
    roles = [turn["role"] for turn in turns]
    if roles != [("user", "assistant")[place % 2] for place in range(len(roles))] or len(roles) % 2 == 0:
        raise ValueError(f"{where}: after the system's, messages are the user's and the assistant's in turn")
    if not any(place in turns[-1]["content"] for place in (_CONVERSATION, _QUESTION)):
        raise ValueError(f"{where}: the last message has neither {_CONVERSATION} nor {_QUESTION}")
    return RewritingPrompt(system_prompt, turns)


class Requests:
    """What teachers are asked: rows of EXAMPLES without a reply, one for each of QUESTIONS, or of a split."""

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
    """Turns as lines of speaker and text."""
    return "\n".join(f"{_SPEAKERS[turn['role']]}: {_one_line(turn)}" for turn in turns)


def _one_line(turn: Message) -> str:
    return " ".join(turn["content"].split())


def as_generation(config: RewritingConfig) -> GenerateConfig:
    """Rewrites are made and stored as responses to the requests are: one for each."""
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
    """Writes REWRITES of a teacher's answers to the `Requests`, in their order.

    Where a teacher wrote nothing, or broke, the question as it was asked takes its place, and is counted.
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
    """Writes REWRITES of the questions that a person rewrote."""
    rows = (
        {"question_id": row["question_id"], "query": row["rewrite"]}
        for row in Rows(questions_uri)
        if row["rewrite"]
    )
    return Counter(rewritten=write_rows(output_uri, rows, REWRITES))


def write_rewrite_targets(
    questions_uri: str, rewrites: Mapping[str, str], output_uri: str, config: TargetsConfig
) -> Counter[str]:
    """Writes TARGETS of the training questions whose candidates are the teachers' rewrites, by their weights.

    For a student whose vector of the conversation is to equal the rewrites'. `rewrites` maps a teacher to its
    REWRITES.

    Raises:
        ValueError: the weights are to be fitted, or those of all teachers are 0.
    """
    if not isinstance(config.weights, dict):
        raise ValueError("targets.weights: of embeddings they cannot be fitted")
    weights = {teacher: config.weights.get(teacher, 1.0) for teacher in rewrites}
    tables = {
        teacher: AlignedReader(uri, "question_id") for teacher, uri in rewrites.items() if weights[teacher]
    }
    if not tables:
        raise ValueError(f"targets.weights = {config.weights}: all are 0")
    counts: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for row in Rows(questions_uri):
            found = {teacher: table.row_for(row["question_id"]) for teacher, table in tables.items()}
            own = {teacher: rewrite["query"] for teacher, rewrite in found.items() if rewrite}
            if row["split"] != "train":
                continue
            counts["with targets" if own else "without targets"] += 1
            total = sum(weights[teacher] for teacher in own)
            if own:
                yield {
                    "example_id": row["question_id"],
                    "split": "train",
                    "context": row["context"],
                    "candidates": [
                        {"text": query, "source": "generated", "teacher": teacher}
                        for teacher, query in own.items()
                    ],
                    "target_probs": [weights[teacher] / total for teacher in own],
                }

    write_rows(output_uri, rows(), TARGETS)
    for table in tables.values():
        table.check_end()
    return counts


def query_of(text: str) -> str:
    """A teacher's answer as a query: its first line, without the label and quotes that some put around it."""
    lines = (_LABEL.sub("", line.strip(_QUOTES)).strip(_QUOTES) for line in text.splitlines())
    return next((line for line in lines if line), "")
