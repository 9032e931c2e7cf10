"""Candidates of each context: gold, generated, retrieved and random responses, in fixed proportions."""

import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from teachers.corpora.examples import position_of
from teachers.dataset import AlignedReader, Rows, read_rows, write_rows
from teachers.records import CANDIDATES, POSITIVE_SOURCES
from teachers.scoring.config import CandidatesConfig
from teachers.scratch import insert, scratch_database
from teachers.texts import said_keys, text_key

Candidate = dict[str, str | None]
# Ranking the gold response among 20 candidates is how G2R (§4) and its predecessors evaluate a retriever.
RANKED_CANDIDATES = 20
# The user's last turn and the responder's one before it: what responders copy most.
OWN_TURNS = 2
_SPARE_DRAWS = 32
_GOLD_RESPONSES = pa.schema([("place", pa.int64()), ("response", pa.string())])
_RESPONSES_AT_A_TIME = 65_536


def write_candidates(
    examples_uri: str,
    contexts_uri: str,
    responses_uris: dict[str, str],
    neighbours_uri: str,
    output_uri: str,
    config: CandidatesConfig,
) -> Counter[str]:
    """Write CANDIDATES and return counts by source.

    Teachers see the contexts at `contexts_uri`, of which some may be unanswered. `responses_uris` maps a
    writing teacher to its RESPONSES.

    Those get gold + generated + retrieved + random, and the first `scored_contexts` of the config are for
    teachers to score. Other training contexts get their gold response alone: the rest of a training step are
    its negatives. Outside of the config's `human_conversations` no gold response is used, as another
    context's candidate neither: teachers' contexts have the other sources, and the rest are left out, as is
    a context from which nothing can be learned: without a score, and without a response of its own.

    The first `evaluation_contexts` test and `validation_contexts` validation contexts get gold + 19 random
    responses of their split, on which teachers are ranked, and after those their own newest turns, which
    shows how teachers like copies.
    """
    counts: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for row in _candidate_rows(examples_uri, contexts_uri, responses_uris, neighbours_uri, config):
            for candidate in row["candidates"]:
                counts[candidate["source"]] += 1
            counts["training contexts"] += row["split"] == "train"
            if row["candidates"][0]["source"] != "gold":
                counts["contexts without a gold response"] += 1
            counts["contexts for teachers"] += row["for_teachers"]
            yield row

    write_rows(output_uri, rows(), CANDIDATES)
    return counts


def _candidate_rows(
    examples_uri: str,
    contexts_uri: str,
    responses_uris: dict[str, str],
    neighbours_uri: str,
    config: CandidatesConfig,
) -> Iterator[dict[str, Any]]:
    seen, neighbours = AlignedReader(contexts_uri), AlignedReader(neighbours_uri)
    generated = {teacher: AlignedReader(uri) for teacher, uri in responses_uris.items()}
    answered = _answered_conversations(examples_uri, config)

    with _distinct_gold_responses(examples_uri, answered) as gold_responses:
        may_retrieve = None if answered is None else set(gold_responses)
        num_seen = 0
        for example in chain(Rows(examples_uri, "train"), Rows(examples_uri, "unanswered")):
            example_id = example["example_id"]
            is_answered = answered is None or example["conversation_id"] in answered
            candidates = _Candidates(example["context"], example["gold_response"] if is_answered else None)

            is_seen = seen.row_for(example_id) is not None
            for_teachers = is_seen and (config.scored_contexts is None or num_seen < config.scored_contexts)
            num_seen += is_seen
            if is_seen:
                for teacher, written in generated.items():
                    row = written.row_for(example_id)
                    responses = row["responses"] if row else []
                    candidates.add(responses[: config.generated_per_teacher], "generated", teacher)

                row = neighbours.row_for(example_id)
                nearest = row["responses"][: config.retrieved] if row else []
                if may_retrieve is not None:
                    nearest = [text for text in nearest if text in may_retrieve]
                candidates.add(nearest, "retrieved")
                candidates.add_random(gold_responses, config.random, f"{config.seed} {example_id}")

            if candidates.has_positive() or (for_teachers and candidates.rows):
                yield _row({**example, "split": "train"}, candidates, for_teachers)

    for reader in (seen, neighbours, *generated.values()):
        reader.check_end()
    for split, limit in (("test", config.evaluation_contexts), ("validation", config.validation_contexts)):
        yield from _ranked(read_rows(examples_uri, split), limit, config.seed)


def num_training_contexts(examples_uri: str, contexts_uri: str, config: CandidatesConfig) -> int:
    """Return how many contexts are trained on, if the teachers write for each that they see."""
    answered = _answered_conversations(examples_uri, config)
    teachers_help = config.generated_per_teacher > 0 or config.scored_contexts != 0
    seen = AlignedReader(contexts_uri)

    count = 0
    for split in ("train", "unanswered"):
        for example in Rows(examples_uri, split):
            has_gold = split == "train" and (answered is None or example["conversation_id"] in answered)
            is_seen = seen.row_for(example["example_id"]) is not None
            count += has_gold or (is_seen and teachers_help)
    return count


def _answered_conversations(examples_uri: str, config: CandidatesConfig) -> Collection[str] | None:
    """Return the training conversations whose gold responses are used, those of fewer among those of more.

    None: all of them. They are drawn, for a file's first conversations may be longer than others.
    """
    count = config.human_conversations
    if count is None:
        return None

    names = {example["conversation_id"] for example in Rows(examples_uri, "train")}
    drawn = sorted(names, key=lambda name: position_of(f"{config.seed}:human:{name}"))
    return set(drawn[:count])


@contextmanager
def _distinct_gold_responses(examples_uri: str, answered: Collection[str] | None) -> Iterator[Sequence[str]]:
    """The distinct responses of `answered` training conversations in the order of their first occurrence.

    They are on disk and not in memory.
    """
    with scratch_database() as database, TemporaryDirectory(prefix="rejoinder-responses-") as folder:
        database.execute("create table responses (place bigint, response varchar)")
        responses = (
            row["gold_response"]
            for row in Rows(examples_uri, "train")
            if answered is None or row["conversation_id"] in answered
        )
        insert(database, "responses", enumerate(responses), _GOLD_RESPONSES)
        distinct = database.sql(
            "select response from (select min(place) as place, response from responses group by response) "
            "order by place"
        )
        file = f"{folder}/responses.arrow"
        with pa.ipc.new_file(file, pa.schema([_GOLD_RESPONSES.field("response")])) as writer:
            for batch in distinct.to_arrow_reader(_RESPONSES_AT_A_TIME):
                writer.write_batch(batch)
        yield _Texts(pa.ipc.open_file(pa.memory_map(file)).read_all()["response"])


class _Texts(Sequence[str]):
    """The texts of a column."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, place: Any) -> Any:
        return self._column[place].as_py()


def _ranked(held_out: list[dict[str, Any]], limit: int, seed: int) -> list[dict[str, Any]]:
    """Return rows of CANDIDATES: the gold response, random ones of the same split, the newest turns."""
    ranked = held_out[:limit]
    # From the ranked examples' responses where they suffice: each prior is then computed once.
    drawn_from = ranked if len(ranked) > RANKED_CANDIDATES else held_out
    pool = [example["gold_response"] for example in drawn_from]

    rows = []
    for example in ranked:
        candidates = _Candidates(example["context"], example["gold_response"])
        candidates.add_random(pool, RANKED_CANDIDATES - 1, f"{seed} {example['example_id']}")
        candidates.add_own_turns()
        rows.append(_row(example, candidates, for_teachers=True))
    return rows


class _Candidates:
    """The candidates of one context, distinct by `text_key`, the gold response first where there is one.

    None has already been said but those that `add_own_turns` adds.
    """

    def __init__(self, context: Sequence[dict[str, str]], gold: str | None) -> None:
        self.rows: list[Candidate] = []
        self._context, self._seen = context, set(said_keys(context))
        if gold is not None:
            self.rows.append({"text": gold, "source": "gold", "teacher": None})
            self._seen.add(text_key(gold))

    def has_positive(self) -> bool:
        """Whether there is a response to learn as right without a teacher's score."""
        return any(candidate["source"] in POSITIVE_SOURCES for candidate in self.rows)

    def add(self, texts: list[str], source: str, teacher: str | None = None) -> int:
        """Add the texts that are new; return their number."""
        before = len(self.rows)
        for text in texts:
            if text_key(text) not in self._seen:
                self._seen.add(text_key(text))
                self.rows.append({"text": text, "source": source, "teacher": teacher})
        return len(self.rows) - before

    def add_random(self, pool: Sequence[str], count: int, seed: str) -> None:
        # A few more draws than `count` make up for repeated texts; a tiny pool may still give fewer. The
        # draws depend on nothing else, so that fewer candidates of another source need no new scores.
        for place in random.Random(seed).sample(range(len(pool)), min(len(pool), 2 * count + _SPARE_DRAWS)):
            if count == 0:
                break
            count -= self.add([pool[place]], "random")

    def add_own_turns(self) -> None:
        """Add the newest turns of the context, the last one first."""
        turns: dict[str, str] = {}
        for message in reversed(self._context[-OWN_TURNS:]):
            turns.setdefault(text_key(message["content"]), message["content"])
        for text in turns.values():
            self.rows.append({"text": text, "source": "context", "teacher": None})


def _row(example: dict[str, Any], candidates: _Candidates, for_teachers: bool) -> dict[str, Any]:
    return {
        "example_id": example["example_id"],
        "conversation_id": example["conversation_id"],
        "split": example["split"],
        "context": example["context"],
        "candidates": candidates.rows,
        "for_teachers": for_teachers,
    }
