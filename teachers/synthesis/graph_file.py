"""The file of a conversation graph: read, and checked as a whole before any conversation is written.

It is in YAML. An error names its line.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from teachers.synthesis.conversation_graph import (
    END,
    EVIDENCE,
    PHENOMENON,
    TURN_VARIABLES,
    Graph,
    Vertex,
    variables,
)
from teachers.synthesis.phenomena import PHENOMENA

_Path = tuple[str, ...]


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
        if axis in TURN_VARIABLES:
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

    allowed = {*TURN_VARIABLES, *graph.axes}
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
