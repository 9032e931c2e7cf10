"""Plans of conversations: paths through the graph, each about passages of one document (CoDi)."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

from teachers.corpora.passages import passages, spans
from teachers.dataset import Rows, write_rows
from teachers.records import PLANS
from teachers.synthesis.config import SynthesisConfig
from teachers.synthesis.conversation_graph import END, Graph, Speaker, steered
from teachers.synthesis.graph_file import read_graph

_Evidence = tuple[int, tuple[int, int]]
"""A passage and the span of its part that a turn is about."""


def graph_of(config: SynthesisConfig) -> Graph:
    """Return the graph by which conversations are planned.

    Raises:
        ValueError: the file cannot be used, or the shares do not fit it.
    """
    return steered(read_graph(config.graph), config.shares)


def write_plans(
    documents_uri: str, graph: Graph, writers: list[str], config: SynthesisConfig, output_uri: str
) -> dict[str, int]:
    """Write PLANS, `config.conversations` of them, spread evenly over DOCUMENTS; return counts.

    `writers` are the teachers that write. The counts are of conversations and of their turns.
    """
    num_documents, num_turns = sum(1 for _ in Rows(documents_uri)), 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal num_turns
        until = 0
        for place, document in enumerate(Rows(documents_uri), start=1):
            before, until = until, place * config.conversations // num_documents
            for number in range(until - before):
                planned = plan(number, document, graph, writers, config)
                num_turns += len(planned["turns"])
                yield planned

    return {"conversations": write_rows(output_uri, rows(), PLANS), "turns": num_turns}


def plan(
    number: int, document: Mapping[str, str], graph: Graph, writers: list[str], config: SynthesisConfig
) -> dict[str, Any]:
    """Return the row of PLANS of this number about the document, however many others there are."""
    generator = random.Random(f"{config.seed} {number} {document['doc_id']}")
    document_passages = passages(document["text"], config.passage_words)

    axes: list[tuple[str, str]] = []
    for axis, values in graph.axes.items():
        shares = {name: value.share for name, value in values.items()}
        axes.append((axis, draw(shares, generator)))

    teachers: dict[Speaker, str] = {}
    speakers: tuple[Speaker, ...] = ("user", "assistant")
    for speaker in speakers:
        weights = config.writers.get(speaker) or dict.fromkeys(writers, 1.0)
        teachers[speaker] = draw(weights, generator)

    return {
        "conversation_id": f"{document['doc_id']}-{number}",
        "doc_id": document["doc_id"],
        "passages": document_passages,
        "axes": axes,
        "turns": _plan_turns(graph, document_passages, teachers, generator),
    }


def _plan_turns(
    graph: Graph, document_passages: list[str], teachers: Mapping[Speaker, str], generator: random.Random
) -> list[dict[str, Any]]:
    """Return the turns of a path through the graph, each about a part of a passage."""
    num_passages = len(document_passages)
    turns: list[dict[str, Any]] = []
    seen = [generator.randrange(num_passages)]
    evidence: list[_Evidence] = []
    name = draw(graph.start, generator)

    while name != END and len(turns) < graph.max_turns:
        vertex = graph.vertices[name]
        phenomenon = _phenomenon(vertex.phenomena, len(turns), seen, num_passages, generator)
        passage = _passage(phenomenon, seen, num_passages, generator)
        seen.append(passage)

        if vertex.asks or not evidence or evidence[-1][0] != passage:
            span = _span(document_passages[passage], passage, evidence, generator)
            evidence.append((passage, span))
        start, end = evidence[-1][1]

        turns.append(
            {
                "vertex": name,
                "speaker": vertex.speaker,
                "phenomenon": phenomenon,
                "passage": passage,
                "start": start,
                "end": end,
                "teacher": teachers[vertex.speaker],
            }
        )
        name = draw(vertex.next, generator)
    return turns


def _phenomenon(
    shares: Mapping[str, float], turn: int, seen: list[int], num_passages: int, generator: random.Random
) -> str | None:
    """Draw the phenomenon of a turn; None where the turn cannot show it.

    The first turn leans on nothing, and a short document has no other passage to move to.
    """
    name = draw({**shares, "": max(0.0, 1 - sum(shares.values()))}, generator)
    possible = {
        "": True,
        "disfluency": True,
        "topic_shift": turn > 0 and len(set(seen)) < num_passages,
        "topic_return": len(set(seen)) > 1,
    }
    return name if name and possible.get(name, turn > 0) else None


def _passage(phenomenon: str | None, seen: list[int], num_passages: int, generator: random.Random) -> int:
    if phenomenon == "topic_shift":
        return generator.choice([place for place in range(num_passages) if place not in seen])
    if phenomenon == "topic_return":
        return generator.choice(sorted({place for place in seen if place != seen[-1]}))
    return seen[-1]


def _span(text: str, passage: int, seen: list[_Evidence], generator: random.Random) -> tuple[int, int]:
    """Draw a part of the passage that no earlier turn is about; if there is none, any but the last one's."""
    every = spans(text)
    choices = [span for span in every if (passage, span) not in seen]
    if not choices:
        choices = [span for span in every if (passage, span) != seen[-1]]
    return generator.choice(choices or every)


def draw(shares: Mapping[str, float], generator: random.Random) -> str:
    """Draw one of the names, each with its share."""
    return generator.choices(list(shares), weights=list(shares.values()))[0]
