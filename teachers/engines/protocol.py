"""What every kind of teacher takes and gives: the contract between workers and engines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from teachers.config import GenerateConfig
from teachers.corpora.conversations import Message

DEFAULT_MAX_TOKENS = GenerateConfig().max_tokens


@dataclass(frozen=True)
class Prompt:
    """A sample that is wanted."""

    context: list[Message]
    system_prompt: str
    seed: int
    min_tokens: int = 0
    """Which the teacher does not end before; engines only."""


@dataclass(frozen=True)
class Generation:
    """One sample of a teacher; with an `error` it is none."""

    text: str
    truncated: bool
    """The token limit ended it, not the teacher."""
    error: str | None = None


@dataclass(frozen=True)
class Group:
    """Candidates of one context, which are scored together."""

    context: list[Message]
    """Oldest turn first; an empty one asks for the responses' priors."""
    responses: list[str]


@dataclass(frozen=True)
class PairScore:
    """What a teacher says of one (context, response): a log-likelihood, or a similarity, or an error."""

    log_likelihood: float | None = None
    """Nats, summed over the response's tokens and its end-of-turn token."""
    tokens: int | None = None
    """Of the response, with its end-of-turn token."""
    similarity: float | None = None
    error: str | None = None


class TeacherError(ValueError):
    """The teacher is at fault and not what it was asked: another attempt would end the same way."""


class Teacher(Protocol):
    """A running teacher."""

    def check(self, scores: bool = True, max_tokens: int = DEFAULT_MAX_TOKENS) -> str:
        """One line on what it showed before its output is used; less is tried where it is not to score.

        `max_tokens` are those of the samples that it is to write.

        Raises:
            ValueError: the teacher is not to be trusted, and why.
        """

    def generate(self, prompts: Sequence[Prompt], config: GenerateConfig) -> list[Generation]:
        """A sample for each prompt; the same prompt gives the same sample as far as the engine allows."""

    def score(self, groups: Sequence[Group]) -> list[list[PairScore]]:
        """For each group, a score for each of its responses."""
