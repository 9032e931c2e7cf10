"""Sections of a config on the teachers' writing: responses, filters, rewrites."""

from typing import Literal

from pydantic import Field

from teachers.config import Section


class FiltersConfig(Section):
    """Filters of responses; the report counts the dropped ones by reason and teacher."""

    min_words: int = Field(1, ge=1)
    """Shorter responses are dropped."""
    max_words: int = Field(60, ge=1)
    """Longer responses are dropped."""
    languages: list[str] = Field([])
    """ISO 639-1 codes of the languages that are kept, such as [en]; all where none is given."""
    blocklist: str | None = None
    """File of words or phrases, one a line; a response that has one is dropped."""


class ResponseFiltersConfig(FiltersConfig):
    """Filters of the responses that form a response set."""

    near_duplicates: float = Field(0.7, gt=0, le=1)
    """Jaccard similarity of word 3-shingles to another response of the whole set that drops one."""


HUMAN = "human"
"""The origin of human-written responses and rewrites, beside the teachers' names."""

PersonalData = Literal["email", "url", "phone"]


class ResponseSetConfig(Section):
    """The responses that are served; `filters` hold for the human ones among them, too."""

    max_human: int = Field(20_000, ge=0)
    """Human responses, drawn from all training conversations; the generations come on top."""
    personal_data: list[PersonalData] = Field(["email", "url", "phone"])
    """A response that has an e-mail address, a URL or a phone number is not served."""


class RewritingConfig(Section):
    """Stand-alone queries that teachers write in place of a conversation."""

    prompt: str = "configs/rewriting/answer.yaml"
    """File of the request to the teachers that write: chat messages, the last with `{question}`, `{earlier}`
    (the turns before it) or `{conversation}` (all turns) in it."""
    max_tokens: int = Field(64, ge=1)
    """Of a rewrite, which is cut there."""
    temperature: float = Field(0.1, gt=0)
    """Sampling temperature."""
    batch_size: int = Field(64, ge=1)
    """Questions in one engine call, and the most that a crash repeats; more on a GPU."""
    human: bool = True
    """Human-written rewrites (`query_rewrite`), where there are any, count as a teacher's, too."""
    seed: int = 0
    """Seed of the sampling."""
