import gzip
import json
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from teachers.corpora.config import ExamplesConfig
from teachers.corpora.conversations import clean
from teachers.corpora.examples import cut, held_out_user_turns, read_scripts, split_of, write_examples
from teachers.dataset import read_rows
from teachers.words import cut_at_word


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_consecutive_messages_merge_and_empty_and_duplicate_turns_are_counted() -> None:
    row = {
        "messages": [
            _message("system", "be nice"),
            _message("user", " hi  there\n"),
            _message("user", "hi there"),
            _message("user", "again"),
            _message("assistant", "   "),
            _message("assistant", "hello"),
            _message("user", "hello"),
            _message("assistant", "bye"),
        ]
    }
    cleaned = clean(row, 100)
    assert cleaned.messages == [_message("user", "hi there again"), _message("assistant", "hello bye")]
    assert cleaned.dropped == {"system message": 1, "duplicate turn": 2, "empty turn": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "no `messages` or `conversations`, but nothing"),
        ({"_id": 1, "text": "x"}, "no `messages` or `conversations`, but `_id`, `text`"),
        ({"messages": "hi"}, "not a list"),
        ({"messages": [1]}, "not an object"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "unknown role 'robot'"),
        ({"messages": [{"role": "user", "content": 3}]}, "neither a string nor a list"),
        ({"messages": [{"role": "user", "content": "hi \ud83d"}]}, "a lone surrogate"),
        (RecursionError(), "nested too deeply"),
        (ValueError("bad"), "not JSON"),
    ],
)
def test_a_malformed_conversation_has_a_reason(row: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        clean(row, 100)


def test_long_turns_are_cut_at_a_word() -> None:
    assert cut_at_word("one two three", 8) == "one two"
    assert cut_at_word("one two three", 7) == "one two"
    assert cut_at_word("abcdefgh", 5) == "abcde"
    assert cut_at_word("short", 5) == "short"


def test_contexts_end_with_the_user_and_hold_the_newest_turns() -> None:
    messages = [_message(("user", "assistant")[turn % 2], f"turn number {turn}") for turn in range(4)]
    rows = list(cut("c", "train", messages, ExamplesConfig(context_turns=2)))
    assert [row["gold_response"] for row in rows] == ["turn number 1", "turn number 2", "turn number 3"]
    assert rows[1]["context"] == [_message("assistant", "turn number 0"), _message("user", "turn number 1")]
    only = list(cut("c", "train", messages, ExamplesConfig(responses_from="assistant")))
    assert [row["gold_response"] for row in only] == ["turn number 1", "turn number 3"]


def test_splits_follow_their_shares_and_never_move() -> None:
    config = ExamplesConfig(test_share=0.2, validation_share=0.1)
    splits = [split_of(f"conversation {number}", [], config) for number in range(5000)]
    assert abs(splits.count("test") / 5000 - 0.2) < 0.03
    assert abs(splits.count("validation") / 5000 - 0.1) < 0.02
    assert splits == [split_of(f"conversation {number}", [], config) for number in range(5000)]


def test_held_out_senders_are_in_no_other_split() -> None:
    config = ExamplesConfig(held_out_senders=0.3)
    senders = [(f"sender {number % 97}", f"sender {number % 89}") for number in range(5000)]
    splits = [split_of(f"conversation {number}", pair, config) for number, pair in enumerate(senders)]
    held_out = {
        name
        for split, pair in zip(splits, senders, strict=True)
        if split == "test_by_sender"
        for name in pair
    }
    others = {
        name
        for split, pair in zip(splits, senders, strict=True)
        if split in ("train", "validation", "test")
        for name in pair
    }
    assert 15 < len(held_out) < 45 and not held_out & others
    assert None in splits  # a held-out sender talks with one who is not


def _outputs(folder: Path) -> list[str]:
    return [str(folder / name) for name in ("examples", "human_responses", "rejected")]


def test_bad_rows_are_rejected_and_conversations_stay_in_one_split(tmp_path: Path) -> None:
    lines = ["{not json", json.dumps({"messages": [{"role": "robot", "content": "x"}]}), "[]"]
    for number in range(200):
        turns = [
            _message(("user", "assistant")[turn % 2], f"conversation {number} says words {turn}")
            for turn in range(5)
        ]
        lines.append(json.dumps({"messages": turns}))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text("\n".join(lines[:100]))
    (tmp_path / "data" / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(lines[100:]).encode()))
    config = ExamplesConfig(conversations=str(tmp_path / "data"))
    counts = write_examples(*_outputs(tmp_path), config)
    rejected = read_rows(str(tmp_path / "rejected"))
    assert [row["origin"] for row in rejected] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]
    assert counts["conversations rejected"] == 3
    splits: dict[str, set[str]] = {}
    for row in read_rows(str(tmp_path / "examples")):
        splits.setdefault(row["conversation_id"], set()).add(row["split"])
    assert all(len(of_conversation) == 1 for of_conversation in splits.values())
    assert len(splits) == 200


def test_a_response_that_its_context_has_said_is_no_example(tmp_path: Path) -> None:
    lines = []
    for number in range(200):
        turns = ["how are you?", f"I am number {number}", "How are YOU", f"fine, {number}"]
        messages = [_message(("user", "assistant")[turn % 2], text) for turn, text in enumerate(turns)]
        lines.append(json.dumps({"messages": messages}))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))

    config = ExamplesConfig(conversations=str(tmp_path / "a.jsonl"))
    counts = write_examples(*_outputs(tmp_path), config)
    assert counts["responses already said in their context"] == 200
    assert {row["gold_response"][:4] for row in read_rows(str(tmp_path / "examples"))} == {"I am", "fine"}


def test_human_responses_are_those_of_all_training_examples_in_a_random_order(tmp_path: Path) -> None:
    lines = []
    for number in range(200):
        turns = ["how are you?", f"I am number {number}", f"and you, {number}?", f"fine, {number}"]
        messages = [_message(("user", "assistant")[turn % 2], text) for turn, text in enumerate(turns)]
        lines.append(json.dumps({"messages": messages}))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    config = ExamplesConfig(conversations=str(tmp_path / "a.jsonl"), max_train=600)
    counts = write_examples(*_outputs(tmp_path), config)
    rows = read_rows(str(tmp_path / "human_responses"))

    few = config.model_copy(update={"max_train": 5})
    write_examples(*_outputs(tmp_path / "few"), few)
    assert read_rows(str(tmp_path / "few" / "human_responses")) == rows

    # 600 are more than there are, so that all are drawn; the two datasets have other orders.
    training = read_rows(str(tmp_path / "examples"), "train")
    ids = [row["example_id"] for row in rows]
    drawn = [row["example_id"] for row in training]
    assert len(rows) == counts["human responses"] == counts["train examples"]
    assert sorted(ids) == sorted(drawn) and ids not in (drawn, sorted(ids))


def test_training_examples_are_drawn_in_runs_and_fewer_are_the_first_of_more(tmp_path: Path) -> None:
    lines = []
    for number in range(60):
        turns = [f"turn {turn} of {number}" for turn in range(11)]
        messages = [_message(("user", "assistant")[place % 2], text) for place, text in enumerate(turns)]
        lines.append(json.dumps({"id": f"c{number}", "messages": messages}))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))

    config = ExamplesConfig(conversations=str(tmp_path / "a.jsonl"), max_train=200, run_length=4)
    write_examples(*_outputs(tmp_path), config)
    drawn = [row["example_id"] for row in read_rows(str(tmp_path / "examples"), "train")]
    turns_by_run = []
    for _, run in groupby(drawn, lambda example_id: example_id.rpartition("-")[0]):
        turns_by_run.append([int(example_id.rpartition("-")[2]) for example_id in run])
    # Ten examples make runs of four, four and two; two runs of one conversation may be neighbours.
    assert {tuple(turns) for turns in turns_by_run} >= {(1, 2, 3, 4), (5, 6, 7, 8), (9, 10)}
    assert len(turns_by_run) > 40

    few = config.model_copy(update={"max_train": 50})
    write_examples(*_outputs(tmp_path / "few"), few)
    rows = read_rows(str(tmp_path / "few" / "examples"), "train")
    assert [row["example_id"] for row in rows] == drawn[:50]

    def conversations_of(count: int) -> dict[str, int]:
        limited = config.model_copy(update={"max_train_conversations": count})
        write_examples(*_outputs(tmp_path / f"of {count}"), limited)
        return Counter(
            row["conversation_id"] for row in read_rows(str(tmp_path / f"of {count}" / "examples"), "train")
        )

    three, five = conversations_of(3), conversations_of(5)
    assert list(three.values()) == [10] * 3 and len(five) == 5, "all of theirs"
    assert three.keys() < five.keys()


def test_what_nobody_has_answered_at_the_end_of_training_conversations_is_a_context(tmp_path: Path) -> None:
    lines = []
    for number in range(60):
        turns = [f"turn {turn} of {number}" for turn in range(1 + number % 3)]
        messages = [_message(("user", "assistant")[place % 2], text) for place, text in enumerate(turns)]
        lines.append(json.dumps({"id": f"c{number}", "messages": messages}))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))

    def unanswered(**settings: Any) -> list[dict[str, Any]]:
        config = ExamplesConfig(conversations=str(tmp_path / "a.jsonl"), test_share=0.2, **settings)
        counts = write_examples(*_outputs(tmp_path), config)
        rows = read_rows(str(tmp_path / "examples"), "unanswered")
        assert counts["unanswered contexts"] == len(rows)
        assert all(row["gold_response"] is None for row in rows)
        return rows

    assert unanswered() == []
    rows = unanswered(max_unanswered=100)
    drawn = read_rows(str(tmp_path / "examples"))
    held_out = {row["conversation_id"] for row in drawn if row["split"] in ("test", "validation")}
    trained = {row["conversation_id"] for row in drawn if row["split"] == "train"}
    in_unanswered = {row["conversation_id"] for row in rows}
    assert trained < in_unanswered and not held_out & in_unanswered, "single turns, too, of training alone"
    for row in rows:
        number = int(row["context"][0]["content"].split()[-1])
        assert [message["content"] for message in row["context"]] == [
            f"turn {turn} of {number}" for turn in range(1 + number % 3)
        ]
        assert row["context"][-1]["role"] == "user", "whoever spoke"

    of_users = unanswered(max_unanswered=100, responses_from="assistant")
    assert {len(row["context"]) for row in of_users} == {1, 3}
    assert len(unanswered(max_unanswered=4)) == 4


def test_no_held_out_response_is_one_of_any_training_example(tmp_path: Path) -> None:
    lines = []
    for number in range(200):
        turns = ["how are you?", f"I am number {number}", "and you?", ("Fine!", "fine")[number % 2] + " here"]
        messages = [_message(("user", "assistant")[turn % 2], text) for turn, text in enumerate(turns)]
        lines.append(json.dumps({"messages": messages}))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    # Only one example is trained on, and all conversations answer "fine here" or "Fine! here".
    config = ExamplesConfig(conversations=str(tmp_path / "a.jsonl"), max_train=1, responses_from="assistant")
    counts = write_examples(*_outputs(tmp_path), config)

    for split in ("validation", "test"):
        responses = [row["gold_response"] for row in read_rows(str(tmp_path / "examples"), split)]
        assert responses and all(text.startswith("I am") for text in responses)
        assert counts[f"{split} replies also in training"] == len(responses)


def test_the_user_turns_of_test_conversations_are_driven_and_scripts_are_checked(tmp_path: Path) -> None:
    lines = []
    for number in range(100):
        turns = [f"turn {turn} of {number}" for turn in range(25 if number % 2 else 2)]
        messages = [_message(("user", "assistant")[place % 2], text) for place, text in enumerate(turns)]
        lines.append(json.dumps({"messages": messages}))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    config = ExamplesConfig(conversations=str(tmp_path / "a.jsonl"), test_share=0.4)
    driven = held_out_user_turns(config, 5)
    assert [len(turns) for turns in driven] == [10] * 5
    assert all(turns[1].startswith("turn 2 of ") for turns in driven)

    script = tmp_path / "scripts.jsonl"
    script.write_text('{"turns": ["hi", "bye"]}\n{"turns": "hi"}\n')
    with pytest.raises(ValueError, match=r"scripts\.jsonl:2: expected an object with `turns`"):
        read_scripts(str(script))
    # A line separator within a turn ends no line of the file.
    script.write_text('{"turns": ["hi\u2028there", "bye"]}\n')
    assert read_scripts(str(script)) == [["hi\u2028there", "bye"]]
    # It is read as every file of rows: with a byte-order mark, empty lines and a compression.
    packed = tmp_path / "scripts.jsonl.gz"
    packed.write_bytes(gzip.compress(b'\xef\xbb\xbf{"turns": ["hi"]}\n\n'))
    assert read_scripts(str(packed)) == [["hi"]]


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([{}] * 2, "2 rows of nothing; 2 of 2 rows were rejected"),
        ([], "no rows"),
        ([{"_id": "1", "text": "x"}], "1 rows of BEIR's `_id` and `text`; 1 of 1 rows were rejected"),
        (
            [{"conversations": [{"from": "human", "value": "only one speaks"}]}] * 3,
            "3 rows of ShareGPT's `conversations`; 3 conversations without a reply",
        ),
        (
            [
                {"messages": [_message("user", f"talk {number}"), _message("assistant", "👍")]}
                for number in range(60)
            ],
            "60 rows of OpenAI's `messages`; 60 responses that are too short",
        ),
        (
            [{"messages": [_message("user", "so?"), _message("assistant", "always this")]}] * 60,
            "test replies also in training; add conversations or raise examples.test_share",
        ),
    ],
)
def test_an_error_without_examples_names_the_format_and_where_they_got_lost(
    tmp_path: Path, rows: list[dict[str, Any]], outcome: str
) -> None:
    (tmp_path / "bad.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = ExamplesConfig(conversations=str(tmp_path / "bad.jsonl"))
    with pytest.raises(ValueError, match=r"^examples\.conversations: expected training and test") as error:
        write_examples(*_outputs(tmp_path), config)
    assert outcome in str(error.value) and "\n" not in str(error.value)


def test_names_and_columns_with_half_a_character_are_rejected_with_their_row(tmp_path: Path) -> None:
    messages = [_message("user", "hello there"), _message("assistant", "hi to you")]
    named = [{**message, "name": "\ud83d"} for message in messages]
    rows = [{"messages": named}, {"\ud83d": 1}]
    for number in range(60):
        rows.append({"messages": [_message("user", f"{number}?"), _message("assistant", f"it is {number}")]})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    counts = write_examples(*_outputs(tmp_path), ExamplesConfig(conversations=str(tmp_path / "a.jsonl")))
    assert counts["conversations rejected"] == 2
    reasons = {row["origin"]: row["reason"] for row in read_rows(str(tmp_path / "rejected"))}
    assert reasons["a.jsonl:1"] == "a lone surrogate, half of a character, in `name`"
    assert reasons["a.jsonl:2"].startswith("no `messages`")
