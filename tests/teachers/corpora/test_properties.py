"""Any conversations, in any files: nothing is lost without a count, and nothing crashes."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teachers.corpora.config import DocumentsConfig, ExamplesConfig, QuestionsConfig
from teachers.corpora.conversations import clean
from teachers.corpora.documents import write_documents
from teachers.corpora.examples import write_examples
from teachers.corpora.questions import write_questions
from teachers.corpora.row_files import read_files
from teachers.dataset import read_rows, write_rows
from teachers.records import DOCUMENTS

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Enough for training and test, whatever else there is.
SOUND = [
    {
        "messages": [
            {"role": ("user", "assistant")[turn % 2], "content": f"talk {number} says {turn}"}
            for turn in range(3)
        ]
    }
    for number in range(12)
]
SENTENCES = [
    "今天天气很好，我们去公园吧。",
    "สวัสดีครับ วันนี้เป็นอย่างไร",
    "كيف حالك اليوم؟",
    "आप कैसे हैं?",
    "👍🏽",
    "Fine, thanks.",
]

# Surrogates, control characters and characters of several codes among them.
any_text = st.text(st.characters(exclude_categories=()), max_size=12)
text = st.one_of(st.sampled_from(SENTENCES), st.text(max_size=40), any_text)
scalar = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), any_text)
any_json = st.recursive(
    scalar,
    lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(any_text, part, max_size=3)),
    max_leaves=6,
)
role = st.one_of(st.sampled_from(["user", "assistant", "human", "gpt", "system", "tool"]), any_text)
content = st.one_of(
    text, text, st.lists(st.one_of(text, st.fixed_dictionaries({"text": text})), max_size=2), any_json
)
message = st.one_of(
    st.fixed_dictionaries({"role": role, "content": content}, optional={"name": text}),
    st.fixed_dictionaries({"from": role, "value": content}),
)
turns = st.one_of(
    st.lists(message, max_size=6),
    st.lists(text, max_size=6).map(
        lambda texts: [
            {"role": ("user", "assistant")[place % 2], "content": content}
            for place, content in enumerate(texts)
        ]
    ),
)
row = st.one_of(
    st.fixed_dictionaries(
        {"messages": turns}, optional={"id": text, "positives": any_json, "query_rewrite": text}
    ),
    st.fixed_dictionaries({"conversations": turns}),
    st.fixed_dictionaries({"doc_id": text, "text": content}, optional={"title": scalar}),
    any_json,
)
objects = row.filter(lambda raw: isinstance(raw, dict))  # a lone list is an array of rows
nested = st.sampled_from(
    ["[" * 100_000, '{"messages": ' * 5000, '{"messages": ' + "[" * 500 + "]" * 500 + "}"]
)
line = st.one_of(row.map(json.dumps), row.map(json.dumps), nested, st.just("{not json"))


def written(folder: Path, lines: list[str], name: str = "rows.jsonl") -> str:
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return str(folder / name)


@QUICK
@given(st.lists(line, max_size=8))
def test_every_row_and_every_response_is_an_example_or_counted(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = written(folder, [*map(json.dumps, SOUND), *lines])
        config = ExamplesConfig(conversations=source, test_share=0.4)
        outputs = [str(folder / name) for name in ("examples", "human", "rejected")]
        counts = write_examples(*outputs, config)

        assert counts["conversations"] == len(SOUND) + len(lines)
        rejected = read_rows(str(folder / "rejected"))
        assert counts["conversations rejected"] == len(rejected)

        num_responses = num_alone = 0
        for origin, raw in read_files(source, ["messages"]):
            if origin not in {row["origin"] for row in rejected}:
                messages = clean(raw, config.max_characters).messages
                num_alone += len(messages) < 2
                num_responses += max(0, len(messages) - 1)
        assert counts["conversations without a reply"] == num_alone

        outcomes = ["responses that are too short", "responses already said in their context"]
        for split in ("train", "validation", "test"):
            outcomes += [f"{split} examples", f"{split} replies also in training"]
        assert sum(counts[outcome] for outcome in outcomes) == num_responses


@QUICK
@given(st.lists(line, max_size=8))
def test_every_document_is_kept_or_rejected(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        corpus = written(folder, ['{"doc_id": "d", "text": "A document."}', *lines])
        config = DocumentsConfig(corpus=corpus)
        counts = write_documents(str(folder / "documents"), str(folder / "rejected"), config)
        assert counts["documents"] + counts["documents rejected"] == 1 + len(lines)
        assert len(read_rows(str(folder / "rejected"))) == counts["documents rejected"]


@QUICK
@given(st.lists(line, max_size=8))
def test_every_question_is_kept_or_rejected(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_rows(str(folder / "documents"), [{"doc_id": "d", "text": "A document."}], DOCUMENTS)
        question = {"messages": [{"role": "user", "content": "What is it?"}], "positives": ["d"]}
        config = QuestionsConfig(conversations=written(folder, [json.dumps(question), *lines]))
        outputs = str(folder / "questions"), str(folder / "rejected")
        counts = write_questions(str(folder / "documents"), *outputs, config)
        assert counts["questions"] + counts["questions rejected"] == 1 + len(lines)
        assert len(read_rows(str(folder / "rejected"))) == counts["questions rejected"]


@QUICK
@given(
    st.lists(objects.map(json.dumps), min_size=1, max_size=12), st.permutations(["a", "b/a", "c"]), st.data()
)
def test_rows_are_the_same_however_they_lie_in_files(
    lines: list[str], files: list[str], data: st.DataObject
) -> None:
    places = [data.draw(st.sampled_from(files)) for _ in lines]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "b").mkdir()
        for file in files:
            own_lines = [line for line, place in zip(lines, places, strict=True) if place == file]
            written(folder, own_lines, f"{file}.jsonl")

        read = list(read_files(str(folder), ["messages"]))
        assert len({name for name, _ in read}) == len(read)
        rows = Counter(json.dumps(raw) for _, raw in read)
        assert rows == Counter(json.dumps(json.loads(line)) for line in lines)
        # Whatever the order in which they were written, they are read by name.
        assert [name.partition(":")[0] for name, _ in read] == sorted(f"{place}.jsonl" for place in places)


@settings(QUICK, max_examples=150)
@given(turns)
def test_a_cleaned_conversation_alternates_and_has_the_text_of_every_turn(messages: list[Any]) -> None:
    try:
        cleaned = clean({"messages": messages}, 10_000)
    except ValueError as error:
        str(error).encode()  # it goes into a file
        return

    roles = [turn["role"] for turn in cleaned.messages]
    assert roles == [("user", "assistant")[(place + (roles[0] != "user")) % 2] for place in range(len(roles))]
    assert all(turn["content"].strip() == turn["content"] != "" for turn in cleaned.messages)
    spoken = {turn["content"] for turn in cleaned.messages}
    for message in messages:
        kind = message.get("role", message.get("from"))
        content = message.get("content", message.get("value"))
        if kind in ("user", "assistant", "human", "gpt") and isinstance(content, str):
            text = " ".join(content.split())
            assert not text or any(text in turn for turn in spoken)
