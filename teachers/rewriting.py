"""Teachers rewrite the question that ends a conversation, so that it stands alone (DiSCo §3)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from teachers.config import GenerateConfig, RewritingConfig
from teachers.records import REWRITES, Rows, write_rows
from teachers.teacher import Generation

HUMAN = "human"
_PLACE = "{conversation}"
_SPEAKERS = {"user": "User", "assistant": "Assistant"}
_LABEL = re.compile(r"^(the last question|question|query|rewrite|rewritten)[^:\n]{0,30}:\s*", re.IGNORECASE)
_QUOTES = "\"'“”«»` "


def read_prompt(config: RewritingConfig) -> str:
    """The request to the teachers.

    Raises:
        ValueError: there is no such file, or no place for the conversation in it.
    """
    try:
        prompt = Path(config.prompt).read_text()
    except OSError as error:
        raise ValueError(f"rewriting.prompt: {config.prompt}: {error.strerror}") from None
    if _PLACE not in prompt:
        raise ValueError(f"rewriting.prompt: {config.prompt} has no {_PLACE}")
    return prompt.strip()


class Requests:
    """Rows of EXAMPLES without a reply, one for each of QUESTIONS: what teachers are asked for a rewrite."""

    def __init__(self, questions_uri: str, prompt: str) -> None:
        self._questions, self._prompt = Rows(questions_uri), prompt

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._questions:
            turns = "\n".join(
                f"{_SPEAKERS[message['role']]}: {message['content']}" for message in row["context"]
            )
            request = {"role": "user", "content": self._prompt.replace(_PLACE, turns)}
            yield {"example_id": row["question_id"], "context": [request]}


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


def query_of(text: str) -> str:
    """A teacher's answer as a query: its first line, without the label and quotes that some put around it."""
    lines = (_LABEL.sub("", line.strip(_QUOTES)).strip(_QUOTES) for line in text.splitlines())
    return next((line for line in lines if line), "")
