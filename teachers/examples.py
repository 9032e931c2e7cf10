"""Examples (context, reply) out of conversations, split by conversation and, where wanted, by sender."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Collection, Iterator

from teachers.config import ExamplesConfig
from teachers.conversations import Message, clean, read
from teachers.records import EXAMPLES, REJECTED, SPLITS, write_rows

Row = dict[str, object]
_SWAPPED = {"user": "assistant", "assistant": "user"}


def write_examples(examples_uri: str, rejected_uri: str, config: ExamplesConfig) -> Counter[str]:
    """Writes EXAMPLES and REJECTED; returns what was kept and what was dropped, by reason.

    Raises:
        ValueError: no usable row at all.
    """
    counts: Counter[str] = Counter()
    rejected: list[Row] = []
    pools: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for name, raw in read(config.conversations):
        counts["conversations"] += 1
        try:
            cleaned = clean(raw, config.max_characters)
        except ValueError as error:
            counts["conversations rejected"] += 1
            rejected.append({"origin": name, "row": _as_text(raw), "reason": str(error)})
            continue
        counts.update(cleaned.dropped)
        if len(cleaned.messages) < 2:
            counts["conversations without a reply"] += 1
            continue
        split = split_of(name, cleaned.senders, config)
        if split is None:
            counts["conversations with a held-out sender"] += 1
            continue
        pools[split].extend(cut(name, split, cleaned.messages, config))
    chosen = _choose(pools, config, counts)
    if not chosen["train"] or not chosen["test"]:
        raise ValueError(
            f"examples.conversations: {config.conversations!r} gives {len(chosen['train'])} training and "
            f"{len(chosen['test'])} test examples; {counts['conversations rejected']} of "
            f"{counts['conversations']} rows were rejected"
        )
    write_rows(examples_uri, [row for rows in chosen.values() for row in rows], EXAMPLES)
    write_rows(rejected_uri, rejected, REJECTED)
    return counts


def split_of(conversation_id: str, senders: Collection[str], config: ExamplesConfig) -> str | None:
    """One of SPLITS, by hashes: a conversation stays where it is when others are added.

    None where only some of its senders are held out: it can be in no split.
    """
    held_out = [_position(f"{config.seed}:sender:{name}") < config.held_out_senders for name in senders]
    if any(held_out):
        return "test_by_sender" if all(held_out) else None
    position = _position(f"{config.seed}:{conversation_id}")
    if position < config.test_share:
        return "test"
    return "validation" if position < config.test_share + config.validation_share else "train"


def _position(name: str) -> float:
    """A number from 0 to 1 that looks random and is always the same."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def cut(conversation_id: str, split: str, messages: list[Message], config: ExamplesConfig) -> Iterator[Row]:
    """Every turn with a turn before it, as a reply to up to `context_turns` turns."""
    for turn in range(1, len(messages)):
        reply = messages[turn]
        if config.replies == "assistant" and reply["role"] != "assistant":
            continue
        if len(reply["content"].split()) < config.min_reply_words:
            continue
        context = messages[max(0, turn - config.context_turns) : turn]
        if reply["role"] == "user":
            context = [{**message, "role": _SWAPPED[message["role"]]} for message in context]
        yield {
            "example_id": f"{conversation_id}-{turn}",
            "conversation_id": conversation_id,
            "split": split,
            "context": context,
            "reply": reply["content"],
        }


def _choose(
    pools: dict[str, list[Row]], config: ExamplesConfig, counts: Counter[str]
) -> dict[str, list[Row]]:
    """A seeded draw per split; a held-out reply that is also a training reply would be in the index."""
    generator = random.Random(config.seed)
    limits = dict(
        zip(SPLITS, (config.max_train, config.max_validation, config.max_test, config.max_test), strict=True)
    )
    if not config.held_out_senders:
        del limits["test_by_sender"]
    chosen: dict[str, list[Row]] = {}
    training_replies: set[str] = set()
    for split, limit in limits.items():
        pool = [row for row in pools[split] if str(row["reply"]).casefold() not in training_replies]
        counts[f"{split} replies also in training"] = len(pools[split]) - len(pool)
        chosen[split] = generator.sample(pool, min(limit, len(pool)))
        counts[f"{split} examples"] = len(chosen[split])
        if split == "train":
            training_replies = {str(row["reply"]).casefold() for row in chosen["train"]}
    del counts["train replies also in training"]
    return chosen


def _as_text(raw: object) -> str:
    return json.dumps(raw, default=str, ensure_ascii=True)[:2000]
