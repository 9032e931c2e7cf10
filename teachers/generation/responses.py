"""Responses out of teachers' samples: cleaned, filtered, without near duplicates."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from teachers.corpora.conversations import Message
from teachers.dataset import Rows, RowWriter, rows_to
from teachers.engines.protocol import Generation
from teachers.generation.config import ResponseFiltersConfig
from teachers.generation.filters import Filter, filters
from teachers.generation.near_duplicates import SeenTexts, near_duplicates
from teachers.records import REJECTED, RESPONSES
from teachers.texts import is_near_copy, text_key
from teachers.words import complete_sentences

Samples = Mapping[str, Iterable[tuple[str, list[Generation]]]]
"""Teacher -> (example_id, samples) of every context, in their order; iterated more than once."""


def write_responses(
    examples_uri: str,
    contexts_uri: str,
    samples: Samples,
    output_uris: dict[str, str],
    rejected_uri: str,
    config: ResponseFiltersConfig,
) -> dict[str, Counter[str]]:
    """Write each teacher's RESPONSES and the rejected samples, as REJECTED; return counts by teacher.

    The counts of a teacher are "kept", "kept shortened" and one for each reason; they add up to its samples.
    `samples` are of every row of EXAMPLES at `contexts_uri`. For each context the teachers come in the order
    of `samples`. A sample that the token limit ended is shortened to its last complete sentence.

    A context has a text once, from the first teacher that wrote it, and never its gold response. Across
    contexts it is different: "lol yes" answers many of them. So a response with just the words of another
    context's response stays: it is a candidate here, and the index has its text once. A response is rejected
    if it is nearly, but not just, a training response or an earlier one: the index would have both.

    Raises:
        ValueError: the blocklist cannot be read, or a language is unknown.
    """
    chosen_filters = filters(config)
    counts: dict[str, Counter[str]] = {teacher: Counter(kept=0) for teacher in samples}
    response_set = SeenTexts(near_duplicates(_all_texts(examples_uri, samples), config.near_duplicates))
    for text in _gold_responses(examples_uri):
        response_set.add(text)

    with ExitStack() as outputs:
        rejected = outputs.enter_context(rows_to(rejected_uri, REJECTED))
        writers: dict[str, RowWriter] = {}
        for teacher in samples:
            writers[teacher] = outputs.enter_context(rows_to(output_uris[teacher], RESPONSES))
        iterators = {teacher: iter(pairs) for teacher, pairs in samples.items()}

        for example in Rows(contexts_uri):
            selection = _Selection(example, chosen_filters, response_set)
            for teacher, pairs in iterators.items():
                example_id, generations = next(pairs)
                assert example_id == example["example_id"], f"{teacher}: {example_id} is out of order"

                kept: list[str] = []
                for sample in generations:
                    generation = shortened(sample)
                    text = " ".join(generation.text.split())
                    reason = selection.add(generation)
                    is_whole = generation.truncated == sample.truncated
                    counts[teacher][reason or ("kept" if is_whole else "kept shortened")] += 1
                    if reason is None:
                        kept.append(text)
                        continue
                    if generation.error is not None:
                        reason = f"error: {generation.error}"
                    rejected.write({"origin": f"{teacher} {example_id}", "row": text, "reason": reason})
                writers[teacher].write({"example_id": example_id, "responses": kept})
    return counts


def shortened(sample: Generation) -> Generation:
    """Return a truncated sample up to its last complete sentence; it is unchanged where it has none."""
    text = complete_sentences(sample.text)
    if not sample.truncated or not any(map(str.isalpha, text)):
        return sample
    return replace(sample, text=text, truncated=False)


def _gold_responses(examples_uri: str) -> Iterator[str]:
    return (text_key(example["gold_response"]) for example in Rows(examples_uri, "train"))


def _all_texts(examples_uri: str, samples: Samples) -> Iterator[str]:
    """Yield the texts that the response set may come to hold, as their keys."""
    yield from _gold_responses(examples_uri)
    for pairs in samples.values():
        for _, generations in pairs:
            for generation in generations:
                yield text_key(generation.text)


class _Selection:
    """The samples that are kept in one context, whichever teacher wrote them."""

    def __init__(
        self, example: dict[str, Any], chosen_filters: list[tuple[str, Filter]], response_set: SeenTexts
    ) -> None:
        self._context: list[Message] = example["context"]
        self._filters, self._response_set = chosen_filters, response_set
        gold = example["gold_response"]
        self._texts = set() if gold is None else {text_key(gold)}

    def add(self, generation: Generation) -> str | None:
        """Keep a sample, or return the reason for which it is rejected."""
        text = text_key(generation.text)
        reason = self._reason(generation)
        if reason is None and text in self._texts:
            reason = "duplicate"
        if reason is None and self._response_set.nearly_has(text):
            reason = "near-duplicate"

        if reason is None:
            self._texts.add(text)
            self._response_set.add(text)
        return reason

    def _reason(self, generation: Generation) -> str | None:
        """Return the reason for rejecting a sample by itself; None where it passes."""
        if generation.error is not None:
            return "error"

        for reason, drops in self._filters:
            if drops(generation, self._context):
                return reason
        if is_near_copy(generation.text, (message["content"] for message in self._context)):
            return "nearly echoed"
        return None
