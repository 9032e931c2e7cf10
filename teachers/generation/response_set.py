"""The response set: human responses and teachers' generations that one list of filters lets pass."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from teachers.corpora.conversations import Message
from teachers.dataset import Rows, rows_to, write_rows
from teachers.engines.protocol import Generation
from teachers.generation.config import HUMAN, PersonalData, ResponseFiltersConfig, ResponseSetConfig
from teachers.generation.filters import Filter, filters
from teachers.generation.keyboard_spam import KeyboardSpam
from teachers.generation.near_duplicates import SeenTexts, near_duplicates
from teachers.generation.personal_data import DETECTORS
from teachers.records import REJECTED, RESPONSE_SET
from teachers.scratch import hash_64
from teachers.texts import response_id, text_key


@dataclass(frozen=True)
class Response:
    """A text that may come into the response set."""

    text: str
    origin: str
    """HUMAN or a teacher."""
    example_id: str


@dataclass(frozen=True)
class ResponseSources:
    """The datasets that a response set is made of; iterated more than once."""

    examples_uri: str
    """EXAMPLES, whose held-out responses are left out."""
    human_uri: str
    """HUMAN_RESPONSES"""
    generated_uris: Mapping[str, str]
    """RESPONSES by teacher."""
    max_human: int
    """The first so many human responses are taken."""

    def __iter__(self) -> Iterator[Response]:
        """Yield human responses, then those of the teachers in their order."""
        for row in islice(Rows(self.human_uri), self.max_human):
            yield Response(row["response"], HUMAN, row["example_id"])

        for teacher, uri in self.generated_uris.items():
            for row in Rows(uri):
                for text in row["responses"]:
                    yield Response(text, teacher, row["example_id"])


def write_response_set(
    sources: ResponseSources,
    output_uri: str,
    rejected_uri: str,
    config: ResponseSetConfig,
    filters_config: ResponseFiltersConfig,
) -> dict[str, Counter[str]]:
    """Write RESPONSE_SET, sorted by text, and REJECTED; return counts by origin.

    The counts of an origin are "kept" and one for each reason; they add up to its responses. Of texts that
    are equal, or nearly so, the first is kept: a human response before a generated one.

    Raises:
        ValueError: nothing passes; the blocklist cannot be read, or a language is unknown.
    """
    counts = {origin: Counter(kept=0) for origin in (HUMAN, *sources.generated_uris)}
    curation = _Curation(sources, config, filters_config)
    kept: list[dict[str, Any]] = []

    with rows_to(rejected_uri, REJECTED) as rejected:
        for response in sources:
            reason = curation.add(response.text)
            counts[response.origin][reason or "kept"] += 1
            if reason is None:
                kept.append(_row(response))
                continue
            origin = f"{response.origin} {response.example_id}"
            rejected.write({"origin": origin, "row": response.text, "reason": reason})

    if not kept:
        raise ValueError(f"response_set: expected a response that passes the filters, got {counts}")
    write_rows(output_uri, sorted(kept, key=lambda row: row["text"]), RESPONSE_SET)
    return counts


def stateless_filters(
    config: ResponseSetConfig, filters_config: ResponseFiltersConfig, spam: KeyboardSpam
) -> list[tuple[str, Filter]]:
    """Return (reason, filter) in the order of trial: those of samples, then those of what is served.

    Raises:
        ValueError: the blocklist cannot be read, or a language is unknown.
    """
    chosen = filters(filters_config)
    chosen.append(("keyboard spam", lambda generation, context: generation.text in spam))
    chosen += [_personal_data_filter(kind) for kind in config.personal_data]
    return chosen


def _personal_data_filter(kind: PersonalData) -> tuple[str, Filter]:
    reason, is_in = DETECTORS[kind]
    return reason, lambda generation, context: is_in(generation.text)


class _Curation:
    """The response set while it grows."""

    def __init__(
        self, sources: ResponseSources, config: ResponseSetConfig, filters_config: ResponseFiltersConfig
    ) -> None:
        spam = KeyboardSpam(response.text for response in sources)
        self._filters = stateless_filters(config, filters_config, spam)

        keys = (text_key(response.text) for response in sources)
        self._seen = SeenTexts(near_duplicates(keys, filters_config.near_duplicates))
        self._keys: set[int] = set()

        self._held_out: set[int] = set()
        for example in Rows(sources.examples_uri):
            if example["split"] not in ("train", "unanswered"):
                self._held_out.add(_hash(text_key(example["gold_response"])))

    def add(self, text: str) -> str | None:
        """Add a text, or return the reason for which it is rejected."""
        # The context's filters have nothing to do: what its context said is no example and no generation.
        context: list[Message] = []
        generation = Generation(text, truncated=False)
        for reason, drops in self._filters:
            if drops(generation, context):
                return reason

        key = text_key(text)
        if _hash(key) in self._held_out:
            return "held-out response"
        if _hash(key) in self._keys:
            return "duplicate"
        if self._seen.nearly_has(key):
            return "near-duplicate"

        self._keys.add(_hash(key))
        self._seen.add(key)
        return None


def _hash(key: str) -> int:
    return hash_64(key.encode())


def _row(response: Response) -> dict[str, Any]:
    is_human = response.origin == HUMAN
    return {
        "response_id": response_id(response.text),
        "text": response.text,
        "source": "gold" if is_human else "generated",
        "teacher": None if is_human else response.origin,
    }
