"""From teachers' samples to responses: cleaned, filtered, and none nearly the same as another."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from teachers.corpora.conversations import Message
from teachers.dataset import Rows, rows_to
from teachers.engines.protocol import Generation
from teachers.generation.config import ResponseFiltersConfig
from teachers.generation.filters import Filter, filters, normalised
from teachers.generation.near_duplicates import NearTo, near_duplicates
from teachers.records import REJECTED, RESPONSES
from teachers.scratch import hash_64


def write_responses(
    examples_uri: str,
    contexts_uri: str,
    samples: dict[str, Iterable[tuple[str, list[Generation]]]],
    output_uris: dict[str, str],
    rejected_uri: str,
    config: ResponseFiltersConfig,
) -> dict[str, Counter[str]]:
    """Writes each teacher's RESPONSES and what was dropped, as REJECTED; returns counts by teacher.

    The counts of a teacher are "kept" and one for each reason; they add up to its samples. `samples` maps
    teacher -> (example_id, samples) of every row of EXAMPLES at `contexts_uri`, in their order; they are
    iterated twice. For each context the teachers are taken as they lie in `samples`.

    In one context a text stands once, whichever teacher wrote it first; one that equals the context's gold
    reply says nothing new either. Across contexts it is different: "lol yes" answers many of them, so a
    response with just the words of another context's reply stays. It is a candidate here, and the index has
    its text once. What goes is a response that is nearly, but not just, a training reply or an earlier
    response: the index would have both.

    Raises:
        ValueError: the blocklist cannot be read, or a language is unknown.
    """
    sieve = filters(config)
    counts: dict[str, Counter[str]] = {teacher: Counter(kept=0) for teacher in samples}
    response_set = _ResponseSet(near_duplicates(_all_texts(examples_uri, samples), config.near_duplicates))
    for text in _training_replies(examples_uri):
        response_set.add(text)
    with ExitStack() as outputs:
        rejected = outputs.enter_context(rows_to(rejected_uri, REJECTED))
        writers = {name: outputs.enter_context(rows_to(output_uris[name], RESPONSES)) for name in samples}
        samples_of = {teacher: iter(of) for teacher, of in samples.items()}
        for example in Rows(contexts_uri):
            in_context = {normalised(example["gold_response"])}
            for teacher, of in samples_of.items():
                example_id, found = next(of)
                assert example_id == example["example_id"], f"{teacher}: {example_id} is out of order"
                kept = []
                for sample in found:
                    text, words = " ".join(sample.text.split()), normalised(sample.text)
                    reason = _reason(sample, example["context"], sieve)
                    if reason is None and words in in_context:
                        reason = "duplicate"
                    if reason is None and response_set.nearly_has(words):
                        reason = "near-duplicate"
                    counts[teacher][reason or "kept"] += 1
                    if reason is None:
                        kept.append(text)
                        in_context.add(words)
                        response_set.add(words)
                    else:
                        said = reason if sample.error is None else f"error: {sample.error}"
                        rejected.write({"origin": f"{teacher} {example_id}", "row": text, "reason": said})
                writers[teacher].write({"example_id": example_id, "responses": kept})
    return counts


def _training_replies(examples_uri: str) -> Iterator[str]:
    return (normalised(example["gold_response"]) for example in Rows(examples_uri, "train"))


def _all_texts(
    examples_uri: str, samples: dict[str, Iterable[tuple[str, list[Generation]]]]
) -> Iterator[str]:
    """What the response set may come to hold, normalised."""
    yield from _training_replies(examples_uri)
    for of in samples.values():
        yield from (normalised(sample.text) for _, found in of for sample in found)


def _reason(sample: Generation, context: list[Message], sieve: list[tuple[str, Filter]]) -> str | None:
    """Why a sample is dropped, whatever else there is; None where it is not."""
    if sample.error is not None:
        return "error"
    return next((name for name, drops in sieve if drops(sample, context)), None)


class _ResponseSet:
    """Normalised texts, of which it knows the near-duplicates. It keeps only texts that have some."""

    def __init__(self, near: NearTo) -> None:
        self._near = near
        self._added: set[int] = set()

    def add(self, text: str) -> None:
        """Afterwards `text` is in the set."""
        if (id := hash_64(text.encode())) in self._near:
            self._added.add(id)

    def nearly_has(self, text: str) -> bool:
        """Whether a text of the set is similar to `text`, which is not itself in the set."""
        id = hash_64(text.encode())
        return id not in self._added and not self._added.isdisjoint(self._near.get(id, ()))
