"""The conversation graph (CoDi, Huber et al. 2024): kinds of turn, what may follow what, and how often.

The graph is a YAML file, checked as a whole before any conversation is written. An error names its line.
"""

import math
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from teachers.config import Section
from teachers.synthesis.phenomena import PHENOMENA

END = "end"
"""The end of a conversation, after its last turn."""
PASSAGE, EVIDENCE, PHENOMENON = "passage", "evidence", "phenomenon"
CONVERSATION, LAST_TURN = "conversation", "last_turn"
_TURN_VARIABLES = (PASSAGE, EVIDENCE, PHENOMENON, CONVERSATION, LAST_TURN)
Speaker = Literal["user", "assistant"]
_Path = tuple[str, ...]


class Example(Section):
    """A turn of this kind as it should be, shown before the request: small models follow examples."""

    passage: str = ""
    evidence: str = ""
    conversation: str = ""
    phenomenon: str | None = None
    """The phenomenon that it shows, an example of turns that are to show it; without one, of all others."""
    axes: dict[str, str] = Field(default_factory=dict)
    """Values of axes: an example of conversations with these; without any, of all."""
    turn: str = Field(min_length=1)


class Vertex(Section):
    """A kind of turn."""

    speaker: Speaker
    prompt: str = Field(min_length=1)
    """The request to the teacher. Names in braces stand for the passage, the evidence (the part of it that
    this turn is about), the conversation so far and its last turn, what the turn's phenomenon asks for, and
    the axes."""
    examples: list[Example] = Field(default_factory=list)
    """Each is the same request, about another passage after another conversation, and its turn."""
    grounded: bool = False
    """Whether its content has to be in the evidence."""
    phenomena: dict[str, float] = Field(default_factory=dict)
    """Share of these turns that is to show each; the rest is free."""
    next: dict[str, float]
    """Probability of each kind of turn that may follow, or of the `end`."""

    @property
    def asks(self) -> bool:
        """Whether it moves on to other evidence: a turn of the user that is written from it."""
        return self.speaker == "user" and EVIDENCE in variables(self.prompt)

    def examples_of(self, phenomenon: str | None, axes: Mapping[str, str]) -> list[Example]:
        """Return those of conversations with these axes that show it, or else those without a phenomenon."""
        fitting = [example for example in self.examples if example.axes.items() <= axes.items()]
        showing = [example for example in fitting if example.phenomenon == phenomenon]
        return showing or [example for example in fitting if example.phenomenon is None]


class Value(Section):
    """One value of an axis."""

    share: float = Field(gt=0, le=1)
    """Share of the conversations."""
    text: str
    """Text of a prompt in place of the axis."""


class Graph(Section):
    """Kinds of turn by name, and axes along which conversations differ as a whole."""

    system_prompt: str = ""
    """For all turns, where a teacher's template has a system role."""
    max_turns: int = Field(12, ge=2, multiple_of=2)
    """Where a conversation ends at the latest; even, so that no question stays without an answer there."""
    start: dict[str, float]
    vertices: dict[str, Vertex] = Field(min_length=1)
    phenomena: dict[str, str] = Field(default_factory=dict)
    """Request to the teacher, by the names of `teachers.synthesis.phenomena`."""
    axes: dict[str, dict[str, Value]] = Field(default_factory=dict)


@dataclass(frozen=True)
class _Problem:
    """An error at a place of the file."""

    at: _Path
    message: str


def read_graph(file: str) -> Graph:
    """Return the graph of a file.

    Raises:
        ValueError: it cannot be used; the message is one line that names file, line and key.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"graph: {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"graph: {file}: {error.reason} at byte {error.start}, expected UTF-8") from None

    try:
        root, content = yaml.compose(text), yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{file}:{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"graph: {file}: {' '.join(str(error).split())}") from None

    try:
        graph = Graph.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        at = tuple(str(part) for part in first["loc"])
        message = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
    else:
        problem = next(_problems(graph), None)
        if problem is None:
            return graph
        at, message = problem.at, problem.message
    raise ValueError(f"{file}:{_line_of(root, at)}: {'.'.join(at)}: {message}")


def steered(graph: Graph, shares: Mapping[str, Mapping[str, float]]) -> Graph:
    """Return the graph with other shares of some axes' values; a value without a share is never drawn.

    Raises:
        ValueError: a name is unknown, or an axis's shares do not sum to 1.
    """
    axes = dict(graph.axes)
    for axis, values in shares.items():
        for value, share in values.items():
            if value not in graph.axes.get(axis, ()):
                raise ValueError(f"synthesis.shares.{axis}.{value}: the graph has no such axis or value")
            if share < 0:
                raise ValueError(f"synthesis.shares.{axis}.{value}: {share:g} is below 0")

        if not math.isclose(sum(values.values()), 1, abs_tol=1e-6):
            raise ValueError(f"synthesis.shares.{axis}: they sum to {sum(values.values()):g}, not 1")
        axes[axis] = {}
        for value, share in values.items():
            if share:
                axes[axis][value] = Value(share=share, text=graph.axes[axis][value].text)
    return graph.model_copy(update={"axes": axes})


def _line_of(node: Any, at: _Path) -> int:
    """Return the line of the key `at`, or of the last part of it that is there."""
    line = node.start_mark.line + 1 if node is not None else 1
    for part in at:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == part:
                line, node = key.start_mark.line + 1, value
                break
        else:
            break
    return int(line)


def _problems(graph: Graph) -> Iterator[_Problem]:
    """Yield the errors of the graph, the most general first."""
    if END in graph.vertices:
        yield _Problem(("vertices", END), "expected the name of a vertex, got the end of a conversation")

    yield from _probability_problems(("start",), graph.start, graph)
    for name, vertex in graph.vertices.items():
        yield from _probability_problems(("vertices", name, "next"), vertex.next, graph)

    for axis, values in graph.axes.items():
        if axis in _TURN_VARIABLES:
            yield _Problem(("axes", axis), "is the name of another variable of prompts")
        total = sum(value.share for value in values.values())
        if not math.isclose(total, 1, abs_tol=1e-6):
            yield _Problem(("axes", axis), f"shares sum to {total:g}, not 1")

    yield from _phenomenon_problems(graph)
    yield from _speaker_problems(graph)
    for name, vertex in graph.vertices.items():
        yield from _template_problems(("vertices", name, "prompt"), vertex, graph)
    yield from _path_problems(graph)


def _probability_problems(at: _Path, probabilities: Mapping[str, float], graph: Graph) -> Iterator[_Problem]:
    for name, probability in probabilities.items():
        if name not in graph.vertices and (name != END or at == ("start",)):
            yield _Problem((*at, name), "is an unknown vertex")
        if not 0 < probability <= 1:
            yield _Problem((*at, name), f"expected a probability above 0, got {probability:g}")
    total = sum(probabilities.values())
    if not math.isclose(total, 1, abs_tol=1e-6):
        yield _Problem(at, f"probabilities sum to {total:g}, not 1")


def _phenomenon_problems(graph: Graph) -> Iterator[_Problem]:
    for name in graph.phenomena:
        if name not in PHENOMENA:
            yield _Problem(("phenomena", name), f"unknown; expected one of {', '.join(PHENOMENA)}")
    for vertex_name, vertex in graph.vertices.items():
        at, examples_at = ("vertices", vertex_name, "phenomena"), ("vertices", vertex_name, "examples")
        for name, share in vertex.phenomena.items():
            if name not in graph.phenomena:
                yield _Problem((*at, name), "missing in `phenomena`, which has the request to the teacher")
            if not 0 < share <= 1:
                yield _Problem((*at, name), f"expected a share above 0, got {share:g}")

        for example in vertex.examples:
            if example.phenomenon is not None and example.phenomenon not in vertex.phenomena:
                yield _Problem(examples_at, f"{example.phenomenon} is missing in its phenomena")
            for axis, value in example.axes.items():
                if value not in graph.axes.get(axis, ()):
                    yield _Problem(examples_at, f"{axis}: {value} is missing in `axes`")

        total = sum(vertex.phenomena.values())
        if total > 1 + 1e-6:
            yield _Problem(at, f"shares sum to {total:g}, more than 1")


def _speaker_problems(graph: Graph) -> Iterator[_Problem]:
    for name in graph.start:
        if graph.vertices[name].speaker != "user":
            yield _Problem(("start", name), "expected a turn of the user, got one of the assistant")
    for name, vertex in graph.vertices.items():
        for follower in vertex.next:
            if follower != END and graph.vertices[follower].speaker == vertex.speaker:
                yield _Problem(
                    ("vertices", name, "next", follower), f"two turns of the {vertex.speaker} in a row"
                )


def _template_problems(at: _Path, vertex: Vertex, graph: Graph) -> Iterator[_Problem]:
    try:
        names = variables(vertex.prompt)
    except ValueError as error:
        yield _Problem(at, str(error))
        return

    allowed = {*_TURN_VARIABLES, *graph.axes}
    for name in sorted(names - allowed):
        yield _Problem(at, f"unknown variable {{{name}}}; expected one of {', '.join(sorted(allowed))}")
    if vertex.grounded and EVIDENCE not in names:
        yield _Problem(at, f"misses {{{EVIDENCE}}}, and the turn is grounded")
    if vertex.phenomena and PHENOMENON not in names:
        yield _Problem(at, f"misses {{{PHENOMENON}}}, and the turn has phenomena")


def _path_problems(graph: Graph) -> Iterator[_Problem]:
    following = {name: set(vertex.next) for name, vertex in graph.vertices.items()}
    reached = _closure(set(graph.start), following)
    for name in graph.vertices:
        if name not in reached:
            yield _Problem(("vertices", name), "cannot be reached from `start`")

    before: dict[str, set[str]] = {END: set()}
    for name, followers in following.items():
        for follower in followers:
            before.setdefault(follower, set()).add(name)
    ending = _closure({END}, before)
    for name in graph.vertices:
        if name not in ending:
            yield _Problem(("vertices", name), "no way leads from it to the end")


def _closure(names: set[str], steps: Mapping[str, set[str]]) -> set[str]:
    """Return the names and all that steps lead to from them."""
    reached, new = set(names), set(names)
    while new:
        followers: set[str] = set()
        for name in new:
            followers |= steps.get(name, set())
        new = followers - reached
        reached |= new
    return reached


def variables(prompt: str) -> set[str]:
    """Return the names in braces.

    Raises:
        ValueError: a brace has no other, or the text in braces is not a name.
    """
    try:
        fields = list(string.Formatter().parse(prompt))
    except ValueError as error:
        raise ValueError(f"{error} (write a literal brace twice)") from None

    names = {name for _, name, _, _ in fields if name is not None}
    for name in names:
        if not name.isidentifier():
            raise ValueError(f"{{{name}}} is not a name (write a literal brace twice)")
    return names


def expected_shares(graph: Graph) -> dict[str, float]:
    """Return the share of turns that each kind of turn has, if conversations go by the graph."""
    visits = dict.fromkeys(graph.vertices, 0.0)
    now = dict(graph.start)

    for _ in range(graph.max_turns):
        following: dict[str, float] = {}
        for name, probability in now.items():
            visits[name] += probability
            for follower, step in graph.vertices[name].next.items():
                following[follower] = following.get(follower, 0) + probability * step
        following.pop(END, None)
        now = following

    total = sum(visits.values())
    return {name: value / total for name, value in visits.items()}
