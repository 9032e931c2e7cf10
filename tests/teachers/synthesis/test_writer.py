"""Conversations written along plans: the requests to teachers, and turns that fail."""

import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pytest

from teachers.generation.config import FiltersConfig
from teachers.inference.store import Row
from teachers.records import SYNTHESISED
from teachers.synthesis.config import ChecksConfig, SynthesisConfig
from teachers.synthesis.conversation_graph import Graph
from teachers.synthesis.writer import ConversationWriter, Writing, clean_turn, turns_settled

GRAPH = Graph.model_validate(
    {
        "system_prompt": "You write.",
        "start": {"ask": 1},
        "axes": {
            "mood": {"calm": {"share": 0.9, "text": "calmly"}, "angry": {"share": 0.1, "text": "angrily"}}
        },
        "phenomena": {"co-reference": "Say they."},
        "vertices": {
            "ask": {
                "speaker": "user",
                "prompt": "Of {evidence} in {passage} after\n{conversation}\nask {mood}. {phenomenon}",
                "examples": [
                    {"evidence": "Bats fly.", "passage": "Bats!", "turn": "Do bats fly?"},
                    {"evidence": "Bats fly.", "turn": "Bats fly!?", "axes": {"mood": "angry"}},
                    {"evidence": "Bats sleep.", "turn": "When do they?", "phenomenon": "co-reference"},
                ],
                "phenomena": {"co-reference": 0.5},
                "next": {"answer": 1},
            },
            "answer": {
                "speaker": "assistant",
                "grounded": True,
                "prompt": "By {evidence} answer\n{last_turn}",
                "next": {"ask": 0.5, "end": 0.5},
            },
        },
    }
)
PASSAGES = ["Barn owls eat voles and hunt at night.", "Nests are built in barns."]
LINES = {"ask": "What do barn owls eat?", "ask again": "And when do they hunt?", "answer": "Owls eat voles."}


def planned(number: int, kinds: list[str]) -> Row:
    return {
        "conversation_id": f"d-{number}",
        "doc_id": "d",
        "passages": PASSAGES,
        "axes": [("mood", "calm")],
        "turns": [
            {
                "vertex": kind,
                "speaker": GRAPH.vertices[kind].speaker,
                "phenomenon": "co-reference" if place == 2 else None,
                "passage": 0,
                "start": 0,
                "end": len(PASSAGES[0]),
                "teacher": {"ask": "one", "answer": "two"}[kind],
            }
            for place, kind in enumerate(kinds)
        ],
    }


PLAN_KINDS = ("ask", "answer", "ask", "answer")
PLAN = planned(0, list(PLAN_KINDS))


class Teachers:
    """Respond with `say` to a request, and note the requests."""

    def __init__(self, say: Callable[[Row], str | None]) -> None:
        self._say = say
        self.rounds: list[dict[str, list[Row]]] = []

    def make(self, requests: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
        self.rounds.append(dict(requests))
        return {name: [self._sample(row) for row in rows] for name, rows in requests.items()}

    def _sample(self, row: Row) -> Row:
        text = self._say(row)
        error = "broke" if text is None else None
        return {"key": row["key"], "text": text, "truncated": False, "error": error}


def line(row: Row) -> str:
    request = row["context"][-1]["content"]
    if request.startswith("By"):
        return LINES["answer"] if "they" not in request else "Barn owls hunt at night."
    return LINES["ask again" if "Assistant:" in request else "ask"]


def written(teachers: Any, plans: list[Row], **settings: Any) -> list[Row]:
    """Return the conversations of the plans; all of their turns are settled then."""
    config = SynthesisConfig(**{"attempts": 3, "rewinds": 0, **settings})
    with tempfile.TemporaryDirectory() as notes:
        writer = ConversationWriter(Writing(GRAPH, config, FiltersConfig(), ChecksConfig()), teachers, notes)
        rows = writer.write(plans)
        assert turns_settled(notes) == sum(len(plan["turns"]) for plan in plans)
    pa.Table.from_pylist(rows, schema=SYNTHESISED)
    return rows


def test_turns_are_written_in_order_by_their_planned_teachers() -> None:
    teachers = Teachers(line)
    [row] = written(teachers, [PLAN])
    assert [message["content"] for message in row["messages"]] == [
        "What do barn owls eat?",
        "Owls eat voles.",
        "And when do they hunt?",
        "Barn owls hunt at night.",
    ]
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * 2
    assert (row["set_aside"], row["failures"]) == (None, [])
    assert [turn["evidence"] for turn in row["turns"]] == [None, PASSAGES[0], None, PASSAGES[0]]
    assert [list(requests) for requests in teachers.rounds] == [["one"], ["two"], ["one"], ["two"]]

    [[third]] = teachers.rounds[2].values()
    assert third["system_prompt"] == "You write."
    assert [message["content"] for message in third["context"]] == [
        "Of Bats sleep. in  after\n(nothing yet)\nask calmly. Say they.",
        "When do they?",
        f"Of {PASSAGES[0]} in {PASSAGES[0]} after\nUser: What do barn owls eat?\nAssistant: Owls eat voles.\n"
        "ask calmly. Say they.",
    ]

    [[first]], [[second]] = teachers.rounds[0].values(), teachers.rounds[1].values()
    assert first["context"][1]["content"] == "Do bats fly?"
    assert second["context"][0]["content"] == f"By {PASSAGES[0]} answer\nUser: What do barn owls eat?"


def test_a_failed_turn_is_requested_again_with_another_seed() -> None:
    bad = iter(["Penguins swim far.", "What do barn owls eat?"])

    def say(row: Row) -> str | None:
        request = row["context"][-1]["content"]
        is_first_answer = request.startswith("By") and "they" not in request
        return next(bad, line(row)) if is_first_answer else line(row)

    teachers = Teachers(say)
    [row] = written(teachers, [PLAN])

    assert row["failures"] == ["answer: not grounded", "answer: echoed"]
    assert row["set_aside"] is None and len(row["messages"]) == 4

    answers = [requests["two"][0] for requests in teachers.rounds if "two" in requests]
    assert (
        len({answer["key"] for answer in answers[:3]}) == len({answer["seed"] for answer in answers[:3]}) == 3
    )
    assert answers[0]["context"] == answers[1]["context"] == answers[2]["context"]


def test_a_turn_out_of_attempts_rejects_its_conversation_only() -> None:
    def say(row: Row) -> str | None:
        return None if row["key"] in refused else line(row)

    plans = [planned(number, ["ask", "answer"]) for number in range(3)]
    refused: set[str] = set()
    seen = Teachers(line)
    written(seen, plans)
    refused.add(seen.rounds[0]["one"][1]["key"])
    rows = written(Teachers(say), plans, attempts=1)

    assert [row["set_aside"] for row in rows] == [None, "turn 1 (ask): the teacher failed", None]
    assert [len(row["messages"]) for row in rows] == [2, 0, 2]
    assert [row["conversation_id"] for row in rows] == ["d-0", "d-1", "d-2"]


def test_a_turn_is_rewound_after_all_attempts_at_the_next_one_fail() -> None:
    texts = iter(
        ["What do barn owls eat?", *["Penguins swim far."] * 2, "When do barn owls hunt?", "At night."]
    )
    [row] = written(Teachers(lambda _: next(texts)), [planned(0, ["ask", "answer"])], attempts=2, rewinds=1)

    assert [message["content"] for message in row["messages"]] == ["When do barn owls hunt?", "At night."]
    assert row["failures"] == ["answer: not grounded"] * 2 and row["set_aside"] is None

    texts = iter(["What do barn owls eat?", *["Penguins swim far."] * 2] * 2)
    [row] = written(Teachers(lambda _: next(texts)), [planned(0, ["ask", "answer"])], attempts=2, rewinds=1)
    assert row["set_aside"] == "turn 2 (answer): not grounded" and len(row["messages"]) == 1


def test_a_finished_conversation_makes_room_for_the_next() -> None:
    plans = [planned(0, ["ask", "answer"]), *(planned(number, list(PLAN_KINDS)) for number in range(1, 4))]
    teachers = Teachers(line)
    rows = written(teachers, plans, batch_size=2)
    assert [row["conversation_id"] for row in rows] == ["d-0", "d-1", "d-2", "d-3"]
    assert [sum(map(len, requests.values())) for requests in teachers.rounds] == [2, 2, 2, 2, 2, 2, 1, 1]


def test_conversations_of_a_batch_advance_together_with_samples_of_their_own() -> None:
    plans = [planned(number, ["ask", "answer"]) for number in range(5)]
    teachers = Teachers(line)
    written(teachers, plans)

    assert [{name: len(rows) for name, rows in requests.items()} for requests in teachers.rounds] == [
        {"one": 5},
        {"two": 5},
    ]
    assert len({row["key"] for row in teachers.rounds[0]["one"]}) == 5


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        (" Owls eat voles.\nUser: And bats?", "Owls eat voles."),
        ("Assistant: Owls eat voles.", "Owls eat voles."),
        ('user: "What do owls eat?"', "What do owls eat?"),
        ("“Do owls eat voles?”", "Do owls eat voles?"),
        ('"with" opens a file.', '"with" opens a file.'),
        ('What is "with"?', 'What is "with"?'),
        ('What is "with"', 'What is "with"'),
        ('"What do owls eat?', "What do owls eat?"),
        ('What do owls eat?"', "What do owls eat?"),
        ('"', ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_turn_is_the_first_line_without_label_and_quotes(text: str | None, turn: str) -> None:
    assert clean_turn({"text": text, "truncated": False, "error": None}).text == turn


def test_a_truncated_turn_has_no_whole_line() -> None:
    assert not clean_turn({"text": "Owls eat.\nAnd", "truncated": True, "error": None}).truncated
    assert clean_turn({"text": "Owls eat", "truncated": True, "error": None}).truncated
