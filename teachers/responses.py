"""From teachers' samples to responses: cleaned, filtered, and none nearly the same as another."""

from collections import Counter
from typing import Any

from datasketch import MinHash, MinHashLSH

from teachers.config import FiltersConfig
from teachers.filters import filters, normalised
from teachers.records import REJECTED, RESPONSES, read_rows, write_rows
from teachers.teacher import Generation

# They miss 2 of 4,640 lightly edited replies at a threshold of 0.9; 20,000 replies of chitchat-dataset
# take 2 s and 55 MiB on one core.
_NUM_PERMUTATIONS = 64
# Of pairs right at the threshold, the share that the hash tables may miss.
_MAX_MISSED = 0.01


def write_responses(
    examples_uri: str,
    contexts_uri: str,
    samples: dict[str, dict[str, list[Generation]]],
    output_uris: dict[str, str],
    rejected_uri: str,
    config: FiltersConfig,
) -> dict[str, Counter[str]]:
    """Writes each teacher's RESPONSES and what was dropped, as REJECTED; returns counts by teacher.

    The counts of a teacher are "kept" and one for each reason; they add up to its samples. `samples` maps
    teacher -> example_id -> samples, for every row of EXAMPLES at `contexts_uri`. Contexts are taken as they
    lie in the dataset, and for each the teachers as they lie in `samples`.

    In one context a text stands once, whichever teacher wrote it first; one that equals the context's gold
    reply says nothing new either. Across contexts it is different: "lol yes" answers many of them, so a
    response with just the words of another context's reply stays. It is a candidate here, and the index has
    its text once. What goes is a response that is nearly, but not just, a training reply or an earlier
    response: the index would have both.

    Raises:
        ValueError: the blocklist cannot be read, or a language is unknown.
    """
    sieve = filters(config)
    response_set = _ResponseSet(config.near_duplicates)
    for example in read_rows(examples_uri):
        if example["split"] == "train":
            response_set.add(normalised(example["reply"]))

    counts: dict[str, Counter[str]] = {teacher: Counter(kept=0) for teacher in samples}
    responses: dict[str, list[dict[str, Any]]] = {teacher: [] for teacher in samples}
    rejected: list[dict[str, str]] = []
    for example in read_rows(contexts_uri):
        in_context = {normalised(example["reply"])}
        for teacher, samples_of in samples.items():
            kept = []
            for sample in samples_of[example["example_id"]]:
                text, words = " ".join(sample.text.split()), normalised(sample.text)
                if sample.error is not None:
                    reason: str | None = "error"
                else:
                    reason = next((name for name, drops in sieve if drops(sample, example["context"])), None)
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
                    origin = f"{teacher} {example['example_id']}"
                    rejected.append({"origin": origin, "row": text, "reason": said})
            responses[teacher].append({"example_id": example["example_id"], "responses": kept})
    for teacher, rows in responses.items():
        write_rows(output_uris[teacher], rows, RESPONSES)
    write_rows(rejected_uri, rejected, REJECTED)
    return counts


class _ResponseSet:
    """Normalised texts, of which it knows the near-duplicates: MinHash finds them, Jaccard decides."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._texts: set[str] = set()
        self._no_shingles = MinHash(num_perm=_NUM_PERMUTATIONS)
        self._tables = MinHashLSH(num_perm=_NUM_PERMUTATIONS, params=_bands_and_rows(threshold))

    def add(self, text: str) -> None:
        """Afterwards `text` is in the set, once."""
        if text in self._texts:
            return
        self._texts.add(text)
        if shingles := _shingles(text):
            self._tables.insert(text, self._min_hash(shingles))

    def nearly_has(self, text: str) -> bool:
        """Whether a text of the set is similar to `text`, which is not itself in the set."""
        shingles = _shingles(text)
        if text in self._texts or not shingles:
            return False
        found = (_shingles(other) for other in self._tables.query(self._min_hash(shingles)))
        return any(len(shingles & other) / len(shingles | other) >= self._threshold for other in found)

    def _min_hash(self, shingles: set[str]) -> MinHash:
        min_hash = self._no_shingles.copy()
        min_hash.update_batch(shingle.encode() for shingle in shingles)
        return min_hash


def _shingles(text: str) -> set[str]:
    """Every three consecutive words; none of a shorter text, which is near to nothing."""
    words = text.split()
    return {" ".join(words[i : i + 3]) for i in range(len(words) - 2)}


def _bands_and_rows(threshold: float) -> tuple[int, int]:
    """The hash tables and the permutations of each: as few false alarms as `_MAX_MISSED` allows.

    datasketch's own choice misses 70 % of the pairs at a threshold of 0.9, and refuses 1.
    """
    rows = 1
    while rows < _NUM_PERMUTATIONS // 2 and _missed(threshold, rows + 1) <= _MAX_MISSED:
        rows += 1
    return _NUM_PERMUTATIONS // rows, rows


def _missed(similarity: float, rows: int) -> float:
    return float((1 - similarity**rows) ** (_NUM_PERMUTATIONS // rows))
