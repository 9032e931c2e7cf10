"""Plans: passages that turns move between, and conversations spread over documents."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from teachers.corpora.passages import passages, spans
from teachers.dataset import read_rows, write_rows
from teachers.records import DOCUMENTS
from teachers.synthesis.config import SynthesisConfig
from teachers.synthesis.conversation_graph import Graph
from teachers.synthesis.plans import plan, write_plans
from teachers.words import words

GRAPH = Graph.model_validate(
    {
        "max_turns": 12,
        "start": {"ask": 1},
        "phenomena": {"topic_shift": "", "topic_return": ""},
        "vertices": {
            "ask": {
                "speaker": "user",
                "prompt": "{evidence}{phenomenon}",
                "phenomena": {"topic_shift": 0.4, "topic_return": 0.3},
                "next": {"answer": 1},
            },
            "answer": {"speaker": "assistant", "prompt": "{passage}", "next": {"ask": 0.95, "end": 0.05}},
        },
    }
)
TEXT = " ".join(f"Sentence number {number} is here." for number in range(12))


def test_topics_shift_to_new_passages_and_return_to_earlier_ones() -> None:
    config = SynthesisConfig(passage_words=10)
    shown: Counter[str] = Counter()
    for number in range(200):
        seen: list[int] = []
        for turn in plan(number, {"doc_id": "d", "text": TEXT}, GRAPH, ["one"], config)["turns"]:
            phenomenon, passage = turn["phenomenon"], turn["passage"]
            if phenomenon == "topic_shift":
                assert passage not in seen
            elif phenomenon == "topic_return":
                assert passage in seen and passage != seen[-1]
            elif seen:
                assert passage == seen[-1]
            seen.append(passage)
            shown[str(phenomenon)] += 1

    assert shown["topic_shift"] > 200 and shown["topic_return"] > 100


def test_a_question_moves_on_to_other_evidence_and_the_answer_stays_with_it() -> None:
    text = " ".join(f"Of the sentences here this is number {number}." for number in range(10))
    config = SynthesisConfig(passage_words=40)
    for number in range(50):
        row = plan(number, {"doc_id": "d", "text": text}, GRAPH, ["one"], config)
        parts = [
            (turn["passage"], row["passages"][turn["passage"]][turn["start"] : turn["end"]])
            for turn in row["turns"]
        ]
        questions, answers = parts[::2], parts[1::2]
        assert questions[: len(answers)] == answers
        assert all(part.startswith("Of the sentences") and part.endswith(".") for _, part in parts)
        # There are five of a passage: none comes twice before all have come.
        of_the_first = [part for passage, part in questions if passage == questions[0][0]]
        assert len(set(of_the_first[:5])) == len(of_the_first[:5])
        assert all(one != other for one, other in pairwise(of_the_first))


def test_a_document_of_one_passage_has_no_other_topic() -> None:
    for number in range(50):
        row = plan(number, {"doc_id": "d", "text": "Short."}, GRAPH, ["one"], SynthesisConfig())
        assert {(turn["passage"], turn["phenomenon"]) for turn in row["turns"]} == {(0, None)}


def test_conversations_are_spread_evenly_over_documents(tmp_path: Path) -> None:
    documents, plans = str(tmp_path / "documents"), str(tmp_path / "plans")
    write_rows(documents, [{"doc_id": f"d{place}", "text": TEXT} for place in range(7)], DOCUMENTS)
    for count in (3, 7, 24):
        counts = write_plans(documents, GRAPH, ["one"], SynthesisConfig(conversations=count), plans)
        rows = read_rows(plans)
        assert counts == {"conversations": count, "turns": sum(len(row["turns"]) for row in rows)}
        per_document = Counter(row["doc_id"] for row in rows)
        assert len(per_document) == min(count, 7) and max(per_document.values()) <= -(-count // 7)
        assert len({row["conversation_id"] for row in rows}) == count


@given(st.text(alphabet="ab .!?\n你好。", max_size=200), st.integers(1, 12))
def test_passages_have_all_words_in_order_and_are_short(text: str, max_words: int) -> None:
    cut = passages(text, max_words)
    assert all(passage and len(words(passage)) <= max_words for passage in cut)
    assert [word for passage in cut for word in words(passage)] == words(text)


def test_the_rest_of_a_long_sentence_is_kept() -> None:
    assert passages("word " * 500, 90) == [" ".join(["word"] * 90)] * 5 + [" ".join(["word"] * 50)]
    assert passages("天" * 25 + "。好。", 10) == ["天" * 10, "天" * 10, "天" * 5 + "。好。"]


def test_a_short_sentence_joins_the_next_one() -> None:
    text = "Owls eat. They hunt at night and find voles. Their nests are built in barns and trees. So be it."
    assert [text[start:end] for start, end in spans(text)] == [
        "Owls eat. They hunt at night and find voles.",
        "Their nests are built in barns and trees. So be it.",
    ]
    assert spans("Short.") == [(0, 6)]


def test_a_passage_ends_where_a_sentence_does() -> None:
    assert passages("Owls eat. They hunt at night! Do they? Yes.", 6) == [
        "Owls eat. They hunt at night!",
        "Do they? Yes.",
    ]
