"""Coverage of a synthesis: shares of its conversations and turns along every axis of the graph."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from teachers.dataset import Rows
from teachers.synthesis.conversation_graph import Graph, Speaker, expected_shares

VERTEX_AXIS, PHENOMENON_AXIS = "kind of turn", "phenomenon"
"""Axes beside the graph's, whose shares are of turns."""
NO_PHENOMENON = "(none)"


def axis_coverage(graph: Graph, plans_uri: str, conversations_uri: str) -> dict[str, dict[str, Any]]:
    """Return by axis the shares `expected`, `planned` and `obtained` of each value, and their `distance`.

    They are the graph's, those of PLANS and those of SYNTHESISED. The distance is the total variation of
    the first and the last.
    """
    planned = _count_values(plans_uri)
    obtained = _count_values(conversations_uri)

    coverage: dict[str, dict[str, Any]] = {}
    for axis, expected in _expected_shares(graph).items():
        obtained_shares = _shares(obtained[axis], expected)
        coverage[axis] = {
            "expected": expected,
            "planned": _shares(planned[axis], expected),
            "obtained": obtained_shares,
            "distance": total_variation(expected, obtained_shares),
        }
    return coverage


def total_variation(shares: Mapping[str, float], other_shares: Mapping[str, float]) -> float:
    """Return half the sum of the differences: the share that would have to move."""
    return sum(abs(share - other_shares[value]) for value, share in shares.items()) / 2


def turn_texts(conversations_uri: str, speaker: Speaker) -> Iterator[str]:
    """Yield the texts of a speaker's turns in SYNTHESISED."""
    for row in Rows(conversations_uri):
        for message in row["messages"]:
            if message["role"] == speaker:
                yield message["content"]


def _expected_shares(graph: Graph) -> dict[str, dict[str, float]]:
    """By axis the share that each value has, if conversations go by the graph."""
    vertex_shares = expected_shares(graph)
    phenomenon_shares: dict[str, float] = {}
    for name in graph.phenomena:
        shares_by_vertex: list[float] = []
        for vertex, share in vertex_shares.items():
            shares_by_vertex.append(share * graph.vertices[vertex].phenomena.get(name, 0.0))
        phenomenon_shares[name] = sum(shares_by_vertex)
    phenomenon_shares[NO_PHENOMENON] = 1 - sum(phenomenon_shares.values())

    axis_shares: dict[str, dict[str, float]] = {}
    for axis, values in graph.axes.items():
        axis_shares[axis] = {name: value.share for name, value in values.items()}
    return {**axis_shares, VERTEX_AXIS: vertex_shares, PHENOMENON_AXIS: phenomenon_shares}


def _count_values(uri: str) -> dict[str, Counter[str]]:
    """Count by axis each value in a dataset of PLANS or SYNTHESISED."""
    counts: dict[str, Counter[str]] = {VERTEX_AXIS: Counter(), PHENOMENON_AXIS: Counter()}
    for row in Rows(uri):
        for axis, value in row["axes"]:
            counts.setdefault(axis, Counter())[value] += 1
        for turn in row["turns"]:
            counts[VERTEX_AXIS][turn["vertex"]] += 1
            counts[PHENOMENON_AXIS][turn["phenomenon"] or NO_PHENOMENON] += 1
    return counts


def _shares(counts: Counter[str], values: Iterable[str]) -> dict[str, float]:
    total = max(1, counts.total())
    return {value: counts[value] / total for value in values}
