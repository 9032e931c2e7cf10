"""Candidates of each context: gold, generated, retrieved and random replies, in fixed proportions."""

import random
from collections import Counter
from typing import Any

from teachers.config import CandidatesConfig
from teachers.records import CANDIDATES, read_rows, write_rows

Candidate = dict[str, str | None]
# Ranking the gold reply among 20 candidates is how G2R (§4) and its predecessors judge a retriever.
RANKED_CANDIDATES = 20
_SPARE_DRAWS = 32


def write_candidates(
    examples_uri: str,
    responses_uris: dict[str, str],
    neighbours_uri: str,
    output_uri: str,
    config: CandidatesConfig,
) -> Counter[str]:
    """Writes CANDIDATES; `responses_uris` maps a teacher's name to its RESPONSES. Returns counts by source.

    Training contexts get gold + generated + retrieved + random; the first `evaluation_contexts` test
    and `validation_contexts` validation contexts gold + 19 random replies of their split, on which teachers
    are ranked.
    """
    examples = read_rows(examples_uri)
    neighbours = {row["example_id"]: row["replies"] for row in read_rows(neighbours_uri)}
    generated = {
        teacher: {row["example_id"]: row["responses"] for row in read_rows(uri)}
        for teacher, uri in responses_uris.items()
    }
    replies = list(dict.fromkeys(row["reply"] for row in examples if row["split"] == "train"))
    rows = []
    for example in examples:
        if example["split"] != "train":
            continue
        example_id = example["example_id"]
        candidates = _Candidates(example["reply"])
        for teacher, responses in generated.items():
            candidates.add(
                responses.get(example_id, [])[: config.generated_per_teacher], "generated", teacher
            )
        candidates.add(neighbours.get(example_id, [])[: config.retrieved], "retrieved")
        candidates.add_random(replies, config.random, f"{config.seed} {example_id}")
        written = any(example_id in responses for responses in generated.values())
        rows.append(_row(example, candidates, for_teachers=written))
    training_contexts = len(rows)
    for split, limit in (("test", config.evaluation_contexts), ("validation", config.validation_contexts)):
        held_out = [example for example in examples if example["split"] == split]
        rows += _ranked(held_out, limit, config.seed)
    write_rows(output_uri, rows, CANDIDATES)
    counts = Counter(candidate["source"] for row in rows for candidate in row["candidates"])
    counts["training contexts"] = training_contexts
    counts["contexts for teachers"] = sum(row["for_teachers"] for row in rows)
    return counts


def _ranked(held_out: list[dict[str, Any]], limit: int, seed: int) -> list[dict[str, Any]]:
    """Rows of CANDIDATES with the gold reply and random replies of the same split."""
    ranked = held_out[:limit]
    # From the sample's own replies where they suffice: each prior is then computed once.
    pool = [example["reply"] for example in (ranked if len(ranked) > RANKED_CANDIDATES else held_out)]
    rows = []
    for example in ranked:
        candidates = _Candidates(example["reply"])
        candidates.add_random(pool, RANKED_CANDIDATES - 1, f"{seed} {example['example_id']}")
        rows.append(_row(example, candidates, for_teachers=True))
    return rows


class _Candidates:
    """The candidates of one context, distinct without regard to case, gold first."""

    def __init__(self, gold: str) -> None:
        self.rows: list[Candidate] = []
        self._seen: set[str] = set()
        self.add([gold], "gold")

    def add(self, texts: list[str], source: str, teacher: str | None = None) -> int:
        """How many of `texts` were new."""
        before = len(self.rows)
        for text in texts:
            if text.casefold() not in self._seen:
                self._seen.add(text.casefold())
                self.rows.append({"text": text, "source": source, "teacher": teacher})
        return len(self.rows) - before

    def add_random(self, pool: list[str], count: int, seed: str) -> None:
        # A few more draws than asked for make up for repeated texts; a tiny pool may still give fewer. The
        # draws depend on nothing else, so that fewer candidates of another source need no new scores.
        for text in random.Random(seed).sample(pool, min(len(pool), 2 * count + _SPARE_DRAWS)):
            if count == 0:
                break
            count -= self.add([text], "random")


def _row(example: dict[str, Any], candidates: _Candidates, for_teachers: bool) -> dict[str, Any]:
    return {
        "example_id": example["example_id"],
        "split": example["split"],
        "context": example["context"],
        "candidates": candidates.rows,
        "for_teachers": for_teachers,
    }
