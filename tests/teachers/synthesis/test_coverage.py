"""Shares along the axes of a graph, expected and obtained."""

from pathlib import Path
from typing import Any

import pytest

from teachers.dataset import write_rows
from teachers.records import PLANS, SYNTHESISED
from teachers.synthesis.conversation_graph import Graph
from teachers.synthesis.coverage import axis_coverage, total_variation, turn_texts

# Every conversation is `ask`, `answer`: each kind of turn is half of the turns.
GRAPH = Graph.model_validate(
    {
        "start": {"ask": 1},
        "axes": {"mood": {"calm": {"share": 0.75, "text": "."}, "angry": {"share": 0.25, "text": "!"}}},
        "phenomena": {"ellipsis": "Be brief."},
        "vertices": {
            "ask": {
                "speaker": "user",
                "prompt": "Ask.",
                "phenomena": {"ellipsis": 0.4},
                "next": {"answer": 1},
            },
            "answer": {"speaker": "assistant", "prompt": "Answer.", "next": {"end": 1}},
        },
    }
)


def _row(mood: str, phenomenon: str | None) -> dict[str, Any]:
    """One conversation; its keys are those that PLANS and SYNTHESISED have in common, and messages."""
    turns = [{"vertex": "ask", "phenomenon": phenomenon}, {"vertex": "answer", "phenomenon": None}]
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": mood}]
    return {"axes": [("mood", mood)], "turns": turns, "messages": messages}


def test_axis_coverage_has_the_shares_of_the_graph_of_plans_and_of_conversations(tmp_path: Path) -> None:
    plans_uri, conversations_uri = str(tmp_path / "plans"), str(tmp_path / "conversations")
    conversations = [_row("calm", None), _row("angry", "ellipsis")]
    write_rows(plans_uri, [*conversations, _row("calm", None), _row("calm", "ellipsis")], PLANS)
    write_rows(conversations_uri, conversations, SYNTHESISED)

    coverage = axis_coverage(GRAPH, plans_uri, conversations_uri)

    assert coverage["mood"] == {
        "expected": {"calm": 0.75, "angry": 0.25},
        "planned": {"calm": 0.75, "angry": 0.25},
        "obtained": {"calm": 0.5, "angry": 0.5},
        "distance": 0.25,
    }
    assert coverage["kind of turn"]["obtained"] == {"ask": 0.5, "answer": 0.5}
    assert coverage["phenomenon"]["expected"] == pytest.approx({"ellipsis": 0.2, "(none)": 0.8})
    assert coverage["phenomenon"]["planned"] == {"ellipsis": 0.25, "(none)": 0.75}
    assert list(turn_texts(conversations_uri, "assistant")) == ["calm", "angry"]


def test_absent_values_have_share_0(tmp_path: Path) -> None:
    plans_uri = str(tmp_path / "plans")
    write_rows(plans_uri, [_row("angry", None)], PLANS)

    coverage = axis_coverage(GRAPH, plans_uri, plans_uri)
    assert coverage["mood"]["obtained"] == {"calm": 0, "angry": 1}
    assert coverage["phenomenon"]["obtained"] == {"ellipsis": 0, "(none)": 1}


def test_total_variation_by_hand() -> None:
    assert total_variation({"a": 0.5, "b": 0.5}, {"a": 0.2, "b": 0.8}) == pytest.approx(0.3)
    assert total_variation({"a": 1.0}, {"a": 1.0}) == 0
