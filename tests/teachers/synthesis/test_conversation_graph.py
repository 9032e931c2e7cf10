"""The conversation graph: what is refused, with its line, and how often each kind of turn comes."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from teachers.dataset import read_rows, write_rows
from teachers.records import DOCUMENTS
from teachers.synthesis.config import SynthesisConfig
from teachers.synthesis.conversation_graph import END, expected_shares, steered, variables
from teachers.synthesis.graph_file import read_graph
from teachers.synthesis.plans import plan, write_plans

GRAPH = """\
max_turns: 6
start: {question: 0.75, hello: 0.25}
axes:
  mood:
    calm: {share: 0.7, text: They are calm.}
    angry: {share: 0.3, text: They are angry.}
phenomena:
  co-reference: Say it.
vertices:
  question:
    speaker: user
    prompt: "Ask about {passage} after {conversation}. {mood} {phenomenon}"
    phenomena: {co-reference: 0.5}
    next: {answer: 1}
  hello:
    speaker: user
    prompt: Greet.
    next: {answer: 1}
  answer:
    speaker: assistant
    grounded: true
    prompt: "Answer by {evidence}."
    next: {question: 0.6, end: 0.4}
"""


def written(tmp_path: Path, content: str) -> str:
    file = tmp_path / "graph.yaml"
    file.write_text(content)
    return str(file)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("hello: 0.25}", "hello: 0.2}", "graph.yaml:2: start: probabilities sum to 0.95, not 1"),
        ("end: 0.4", "end: 0.3", "graph.yaml:23: vertices.answer.next: probabilities sum to 0.9, not 1"),
        ("end: 0.4", "goodbye: 0.4", "graph.yaml:23: vertices.answer.next.goodbye: is an unknown vertex"),
        ("end: 0.4", "answer: 0.4", "graph.yaml:23: vertices.answer.next.answer: two turns of the assistant"),
        ("0.75, hello: 0.25", "1.0", "graph.yaml:15: vertices.hello: cannot be reached from `start`"),
        ("question: 0.6, end: 0.4", "question: 1", "vertices.question: no way leads from it to the end"),
        ("{question: 0.75, hello: 0.25}", "{answer: 1}", "start.answer: expected a turn of the user"),
        ("Answer by {evidence}.", "Answer.", "graph.yaml:22: vertices.answer.prompt: misses {evidence}"),
        ("{phenomenon}", "", "graph.yaml:12: vertices.question.prompt: misses {phenomenon}"),
        (
            "{mood}",
            "{mode}",
            "graph.yaml:12: vertices.question.prompt: unknown variable {mode}",
        ),
        ("{mood}", "{", "graph.yaml:12: vertices.question.prompt:"),
        (
            "{question: 0.6, end: 0.4}",
            "{question: 0.6, end: 0.4}\n    examples: [{turn: Yes., axes: {mood: sad}}]",
            "graph.yaml:24: vertices.answer.examples: mood: sad is missing in `axes`",
        ),
        (
            "{question: 0.6, end: 0.4}",
            "{question: 0.6, end: 0.4}\n    examples: [{turn: Yes., phenomenon: ellipsis}]",
            "graph.yaml:24: vertices.answer.examples: ellipsis is missing in its phenomena",
        ),
        ("share: 0.3", "share: 0.2", "graph.yaml:4: axes.mood: shares sum to 0.9, not 1"),
        ("co-reference: Say it.", "rhyme: Rhyme.", "graph.yaml:8: phenomena.rhyme: unknown; expected one of"),
        ("{co-reference: 0.5}", "{ellipsis: 0.5}", "graph.yaml:13: vertices.question.phenomena.ellipsis:"),
        (
            "{co-reference: 0.5}",
            "{co-reference: 1.5}",
            "phenomena.co-reference: expected a share above 0",
        ),
        ("speaker: assistant", "speaker: robot", "graph.yaml:20: vertices.answer.speaker:"),
        (
            "grounded: true",
            "grounded: true\n    colour: red",
            "graph.yaml:22: vertices.answer.colour: unknown",
        ),
        ("max_turns: 6", "max_turns: [", "graph.yaml:3: "),
        ("max_turns: 6", "max_turns: 5", "graph.yaml:1: max_turns: Input should be a multiple of 2"),
        ("\n  question:", "\n  end:", "vertices.end: expected the name of a vertex"),
        ("Say it.", "Say \x07.", "graph.yaml: unacceptable character"),
    ],
)
def test_a_malformed_graph_is_refused_with_its_line(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert GRAPH.count(old) == 1
    with pytest.raises(ValueError, match="graph") as error:
        read_graph(written(tmp_path, GRAPH.replace(old, new)))
    assert line in str(error.value) and "\n" not in str(error.value)


def test_an_unreadable_graph_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^graph: .*none\.yaml: No such file"):
        read_graph(str(tmp_path / "none.yaml"))
    with pytest.raises(ValueError, match=r"graph\.yaml:1: "):
        read_graph(written(tmp_path, ""))
    (tmp_path / "latin.yaml").write_bytes("vertices: é".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.yaml: .* at byte 10, expected UTF-8$"):
        read_graph(str(tmp_path / "latin.yaml"))


def test_the_shipped_graph_is_valid() -> None:
    graph = read_graph("configs/synthesis/conversation_graph.yaml")
    assert sum(expected_shares(graph).values()) == pytest.approx(1)
    assert {"follow_up", "clarification", "comparison", "challenge", "unanswerable"} <= graph.vertices.keys()


def test_escaped_braces_are_no_variable() -> None:
    assert variables("{{a}} {b} {b}") == {"b"}


def test_plans_have_the_shares_of_the_graph(tmp_path: Path) -> None:
    """Shares of kinds, phenomena and axes of 4,000 plans are those of the file, within four deviations."""
    graph = read_graph(written(tmp_path, GRAPH))
    document = {"doc_id": "d", "text": "Owls eat voles. " * 30}
    config = SynthesisConfig(writers={"assistant": {"one": 1, "two": 3}})
    plans = [plan(number, document, graph, ["one", "two"], config) for number in range(4000)]
    turns = [turn for row in plans for turn in row["turns"]]
    kinds = Counter(turn["vertex"] for turn in turns)
    for name, share in expected_shares(graph).items():
        assert kinds[name] / len(turns) == pytest.approx(share, abs=0.02)
    starts = Counter(row["turns"][0]["vertex"] for row in plans)

    assert starts["hello"] / 4000 == pytest.approx(0.25, abs=0.03)
    assert Counter(dict(row["axes"])["mood"] for row in plans)["angry"] / 4000 == pytest.approx(0.3, abs=0.03)

    later = [turn for row in plans for turn in row["turns"][1:] if turn["vertex"] == "question"]
    shown = sum(turn["phenomenon"] == "co-reference" for turn in later)
    assert shown / len(later) == pytest.approx(0.5, abs=0.03)
    # What leans on an earlier turn is in none that begins a conversation.
    assert all(row["turns"][0]["phenomenon"] is None for row in plans)

    by = Counter(turn["teacher"] for row in plans for turn in row["turns"] if turn["speaker"] == "assistant")
    assert by["two"] / by.total() == pytest.approx(0.75, abs=0.03)

    for row in plans:
        path = [turn["vertex"] for turn in row["turns"]]
        assert len(path) <= graph.max_turns
        assert all(after in graph.vertices[before].next for before, after in itertools.pairwise(path))
        assert len(path) == graph.max_turns or END in graph.vertices[path[-1]].next


def test_a_plan_does_not_depend_on_other_plans(tmp_path: Path) -> None:
    graph = read_graph(written(tmp_path, GRAPH))
    document = {"doc_id": "d", "text": "Owls eat voles. " * 30}
    documents = str(tmp_path / "documents")
    write_rows(documents, [{**document, "doc_id": f"d{place}"} for place in range(7)], DOCUMENTS)
    config = SynthesisConfig()

    def planned(conversations: int) -> dict[str, dict[str, Any]]:
        output = str(tmp_path / "plans")
        write_plans(documents, graph, ["one"], SynthesisConfig(conversations=conversations), output)
        return {row["conversation_id"]: row for row in read_rows(output)}

    few, many = planned(20), planned(500)

    assert (len(few), len(many)) == (20, 500)
    assert few == {name: many[name] for name in few}
    assert plan(3, document, graph, ["one"], config) != plan(4, document, graph, ["one"], config)

    other = SynthesisConfig(seed=1)
    assert (
        plan(3, document, graph, ["one"], config)["turns"]
        != plan(3, document, graph, ["one"], other)["turns"]
    )


def test_steering_one_axis_changes_only_that_axis(tmp_path: Path) -> None:
    document, config = {"doc_id": "d", "text": "Owls eat voles. " * 30}, SynthesisConfig()
    calm = read_graph(written(tmp_path, GRAPH))
    angry = steered(calm, {"mood": {"calm": 0.2, "angry": 0.8}})
    pairs = [
        tuple(plan(number, document, graph, ["one"], config) for graph in (calm, angry))
        for number in range(1000)
    ]

    assert all(one["turns"] == other["turns"] for one, other in pairs)

    shares = [sum(dict(pair[place]["axes"])["mood"] == "angry" for pair in pairs) / 1000 for place in (0, 1)]
    assert shares == pytest.approx([0.3, 0.8], abs=0.05)


def test_a_value_without_a_share_is_removed(tmp_path: Path) -> None:
    graph = steered(read_graph(written(tmp_path, GRAPH)), {"mood": {"angry": 1}})
    assert {name: value.text for name, value in graph.axes["mood"].items()} == {"angry": "They are angry."}


@pytest.mark.parametrize(
    ("shares", "line"),
    [
        ({"mood": {"sad": 1}}, "synthesis.shares.mood.sad: the graph has no such axis or value"),
        ({"moods": {"calm": 1}}, "synthesis.shares.moods.calm: the graph has no such axis or value"),
        ({"mood": {"calm": 0.7}}, "synthesis.shares.mood: they sum to 0.7, not 1"),
        ({"mood": {"calm": 1.5, "angry": -0.5}}, "synthesis.shares.mood.angry: -0.5 is below 0"),
    ],
)
def test_invalid_shares_are_refused_by_name(
    tmp_path: Path, shares: dict[str, dict[str, float]], line: str
) -> None:
    with pytest.raises(ValueError) as error:
        steered(read_graph(written(tmp_path, GRAPH)), shares)
    assert str(error.value) == line
