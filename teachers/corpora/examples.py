"""Examples (context, response) of conversations, split by conversation and optionally by sender."""

import hashlib
import random
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import duckdb
import pyarrow as pa

from teachers.corpora.config import ExamplesConfig
from teachers.corpora.conversations import Message, clean, read
from teachers.corpora.rejections import Rejections
from teachers.corpora.row_files import read_files
from teachers.dataset import rows_to, write_rows
from teachers.records import EXAMPLES, HUMAN_RESPONSES, MESSAGE, REJECTED, SPLITS
from teachers.scratch import hash_64, insert, query_rows, scratch_database
from teachers.storage import path_exists
from teachers.texts import said_keys, text_key
from teachers.words import words

Row = dict[str, Any]
_POOL = (
    "place bigint, split integer, example_id varchar, conversation_id varchar, "
    "context struct(role varchar, content varchar)[], response varchar, response_hash bigint"
)
_POOL_SCHEMA = pa.schema(
    [
        ("place", pa.int64()),
        ("split", pa.int32()),
        ("example_id", pa.string()),
        ("conversation_id", pa.string()),
        ("context", pa.list_(MESSAGE)),
        ("gold_response", pa.string()),
        ("response_hash", pa.int64()),  # of `text_key`
    ]
)
_DRAW_SCHEMA = pa.schema([("number", pa.int64()), ("rank", pa.int64())])
_DRIVEN_TURNS = 10
_SWAPPED = {"user": "assistant", "assistant": "user"}


def write_examples(
    examples_uri: str, human_uri: str, rejected_uri: str, config: ExamplesConfig
) -> Counter[str]:
    """Write EXAMPLES, HUMAN_RESPONSES and REJECTED; return the counts of what was kept and dropped.

    Raises:
        ValueError: there is no training example, or no test example.
    """
    counts: Counter[str] = Counter()

    with scratch_database() as database, rows_to(rejected_uri, REJECTED) as writer:
        rejections = Rejections(writer)
        database.execute(f"create table pool ({_POOL})")
        insert(database, "pool", _pool(config, rejections, counts), _POOL_SCHEMA)
        _choose(database, config, counts)

        num_train, num_test = counts["train examples"], counts["test examples"]
        if not num_train or not num_test:
            advice = "; add conversations or raise examples.test_share" if num_train else ""
            raise ValueError(
                f"examples.conversations: expected training and test examples, got {num_train} and "
                f"{num_test} of {config.conversations!r}: {rejections.in_words()}{_losses(counts)}{advice}"
            )

        write_rows(examples_uri, _chosen(database), EXAMPLES)
        human_responses = write_rows(human_uri, _human_responses(database, config.seed), HUMAN_RESPONSES)
        counts["human responses"] = human_responses
    return counts


def _losses(counts: Counter[str]) -> str:
    """Return the counts that say where examples got lost, as the end of an error's line."""
    reported = ("conversations", "conversations rejected", "train examples", "test examples")
    losses = [f"{count} {name}" for name, count in counts.items() if count and name not in reported]
    return f"; {', '.join(losses)}" if losses else ""


def _pool(config: ExamplesConfig, rejections: Rejections, counts: Counter[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the table `pool`: all examples of the conversations."""
    place = 0
    for name, raw in read(config.conversations):
        counts["conversations"] += 1
        rejections.see(raw)
        try:
            cleaned = clean(raw, config.max_characters)
        except ValueError as error:
            counts["conversations rejected"] += 1
            rejections.add(name, raw, str(error))
            continue

        counts.update(cleaned.dropped)
        if len(cleaned.messages) < 2:
            counts["conversations without a reply"] += 1
            if not config.max_unanswered:
                continue
        split = split_of(name, cleaned.senders, config)
        if split is None:
            counts["conversations with a held-out sender"] += 1
            continue

        for row in _rows(name, split, cleaned.messages, config, counts):
            response = row["gold_response"]
            key = None if response is None else hash_64(text_key(response).encode())
            yield (place, SPLITS.index(row["split"]), row["example_id"], name, row["context"], response, key)
            place += 1


def _rows(
    name: str, split: str, messages: list[Message], config: ExamplesConfig, counts: Counter[str]
) -> Iterator[Row]:
    """Yield the examples of a conversation that may be drawn."""
    for row in cut(name, split, messages, config):
        if len(words(row["gold_response"])) < config.min_response_words:
            counts["responses that are too short"] += 1
        elif text_key(row["gold_response"]) in said_keys(row["context"]):
            counts["responses already said in their context"] += 1
        else:
            yield row

    if config.max_unanswered and split == "train" and messages:
        unanswered = _example(name, len(messages), messages, config)
        if unanswered is not None:
            yield {**unanswered, "split": "unanswered"}


def held_out_user_turns(config: ExamplesConfig, count: int) -> list[list[str]]:
    """Return the user's first turns, up to ten, of the first `count` test conversations that have several."""
    conversations: list[list[str]] = []
    for name, raw in read(config.conversations):
        if len(conversations) == count:
            break
        try:
            cleaned = clean(raw, config.max_characters)
        except ValueError:  # counted where the examples are written
            continue

        if cleaned.messages and split_of(name, cleaned.senders, config) == "test":
            turns = [message["content"] for message in cleaned.messages if message["role"] == "user"]
            if len(turns) > 1:
                conversations.append(turns[:_DRIVEN_TURNS])
    return conversations


def read_scripts(uri: str) -> list[list[str]]:
    """Return the user's turns of each conversation of a file whose rows have `turns`, lists of strings.

    Raises:
        ValueError: there is no such file, or a row is of another form.
    """
    if not path_exists(uri):
        raise ValueError(f"no file {uri!r}")

    conversations: list[list[str]] = []
    for name, row in read_files(uri, ["turns"]):
        turns = row.get("turns") if isinstance(row, dict) else None
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
            raise ValueError(f"{name}: expected an object with `turns`, a list of strings")
        conversations.append(turns)
    return conversations


def split_of(conversation_id: str, senders: Collection[str], config: ExamplesConfig) -> str | None:
    """Return the split of its examples, by hashes: a conversation stays in its split when others are added.

    None where only some of its senders are held out: it belongs to no split.
    """
    held_out = [position_of(f"{config.seed}:sender:{name}") < config.held_out_senders for name in senders]
    if any(held_out):
        return "test_by_sender" if all(held_out) else None
    return split_at(
        position_of(f"{config.seed}:{conversation_id}"), config.validation_share, config.test_share
    )


def split_at(position: float, validation_share: float, test_share: float) -> str:
    """Return `train`, `validation` or `test`."""
    if position < test_share:
        return "test"
    return "validation" if position < test_share + validation_share else "train"


def position_of(name: str) -> float:
    """Return a pseudo-random number from 0 to 1 that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def cut(conversation_id: str, split: str, messages: list[Message], config: ExamplesConfig) -> Iterator[Row]:
    """Yield each turn but the first as the response to a context of up to `context_turns` turns."""
    for turn in range(1, len(messages)):
        row = _example(conversation_id, turn, messages, config)
        if row is not None:
            yield {**row, "split": split}


def _example(name: str, turn: int, messages: list[Message], config: ExamplesConfig) -> Row | None:
    """Return the example in which that turn, if there is one, is the response; None where it may be none."""
    response = messages[turn] if turn < len(messages) else None
    role = response["role"] if response else _SWAPPED[messages[-1]["role"]]
    if config.responses_from == "assistant" and role != "assistant":
        return None

    context = messages[max(0, turn - config.context_turns) : turn]
    if role == "user":
        context = [{**message, "role": _SWAPPED[message["role"]]} for message in context]
    return {
        "example_id": f"{name}-{turn}",
        "conversation_id": name,
        "context": context,
        "gold_response": response["content"] if response else None,
    }


def _choose(database: duckdb.DuckDBPyConnection, config: ExamplesConfig, counts: Counter[str]) -> None:
    """Make the table `chosen` (place, split, rank): a seeded draw per split.

    A held-out response that is also the response of any training example may be in the index: it is not
    drawn, whatever part of the training examples is.
    """
    database.execute("create table chosen (place bigint, split integer, rank bigint)")
    counts["train examples"] = _choose_runs(database, config)

    trained = "select response_hash from pool where split = 0"
    generator = random.Random(config.seed)
    limits = {"validation": config.max_validation, "test": config.max_test}
    if config.held_out_senders:
        limits["test_by_sender"] = config.max_test
    for split, limit in limits.items():
        in_split = f"split = {SPLITS.index(split)}"
        [(in_pool,)] = query_rows(database, f"select count(*) from pool where {in_split}")
        eligible = f"{in_split} and response_hash not in ({trained})"
        num_eligible, num_drawn = _draw(database, split, eligible, limit, generator)
        counts[f"{split} replies also in training"] = in_pool - num_eligible
        counts[f"{split} examples"] = num_drawn

    if config.max_unanswered:
        in_split = f"split = {SPLITS.index('unanswered')}"
        drawn = _draw(database, "unanswered", in_split, config.max_unanswered, generator)
        counts["unanswered contexts"] = drawn[1]


def _draw(
    database: duckdb.DuckDBPyConnection, split: str, eligible: str, limit: int, generator: random.Random
) -> tuple[int, int]:
    """Choose up to `limit` of the pool's rows that are `eligible`, a condition; return both numbers."""
    [(num_eligible,)] = query_rows(database, f"select count(*) from pool where {eligible}")
    drawn = generator.sample(range(num_eligible), min(limit, num_eligible))

    database.execute("create or replace table drawn (number bigint, rank bigint)")
    insert(database, "drawn", ((place, rank) for rank, place in enumerate(drawn)), _DRAW_SCHEMA)
    numbered = f"select place, row_number() over (order by place) - 1 as number from pool where {eligible}"
    split_number = SPLITS.index(split)
    database.execute(
        f"insert into chosen select place, {split_number}, rank from drawn join ({numbered}) using (number)"
    )
    return num_eligible, len(drawn)


def _choose_runs(database: duckdb.DuckDBPyConnection, config: ExamplesConfig) -> int:
    """Draw training examples in runs of a conversation, in random order; return their number."""
    limit = config.max_train_conversations
    conversations = (
        "select conversation_id from (select distinct conversation_id from pool where split = 0) "
        f"order by md5('{config.seed}:conversation:' || conversation_id), conversation_id "
        + (f"limit {limit}" if limit is not None else "")
    )
    in_conversation = "row_number() over (partition by conversation_id order by place) - 1"
    runs = (
        f"select place, conversation_id || ':' || ({in_conversation}) // {config.run_length} as run "
        f"from pool where split = 0 and conversation_id in ({conversations})"
    )
    in_random_order = f"order by md5('{config.seed}:' || run), run, place"
    ranked = f"select place, row_number() over ({in_random_order}) - 1 as rank from ({runs})"
    database.execute(
        f"insert into chosen select place, 0, rank from ({ranked}) where rank < {config.max_train}"
    )
    [(num_drawn,)] = query_rows(database, "select count(*) from chosen")
    return int(num_drawn)


def _chosen(database: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    """Yield the rows of EXAMPLES: the splits in their order, each in the order of its draw."""
    query = (
        "select example_id, conversation_id, pool.split, context, response "
        "from pool join chosen using (place) order by pool.split, rank"
    )
    for example_id, conversation_id, split, context, response in query_rows(database, query):
        yield {
            "example_id": example_id,
            "conversation_id": conversation_id,
            "split": SPLITS[split],
            "context": context,
            "gold_response": response,
        }


def _human_responses(database: duckdb.DuckDBPyConnection, seed: int) -> Iterator[Row]:
    """Yield the rows of HUMAN_RESPONSES."""
    in_random_order = f"order by md5('{seed}:' || example_id), place"
    query = f"select example_id, response from pool where split = 0 {in_random_order}"
    for example_id, response in query_rows(database, query):
        yield {"example_id": example_id, "response": response}
