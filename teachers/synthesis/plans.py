"""Plans of conversations: paths through the graph, each about passages of one document (CoDi)."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

from teachers.corpora.passages import passages, spans
from teachers.dataset import Rows, write_rows
from teachers.records import PLANS
from teachers.synthesis.config import SynthesisConfig
from teachers.synthesis.conversation_graph import END, Graph, Speaker, read_graph, steered


def graph_of(config: SynthesisConfig) -> Graph:
    """The graph by which conversations are planned.

    Raises:
        ValueError: the file cannot be used, or the shares do not fit it.
    """
    return steered(read_graph(config.graph), config.shares)


def write_plans(
    documents_uri: str, graph: Graph, writers: list[str], config: SynthesisConfig, output_uri: str
) -> dict[str, int]:
    """Writes PLANS, `config.conversations` of them, spread evenly over DOCUMENTS; how many, and their turns.

    `writers` are the teachers that write.
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
    """A row of PLANS, the one of this number about the document, however many others there are."""
    generator = random.Random(f"{config.seed} {number} {document['doc_id']}")
    parts = passages(document["text"], config.passage_words)
    values = {
        axis: drawn({name: value.share for name, value in of.items()}, generator)
        for axis, of in graph.axes.items()
    }
    equally = dict.fromkeys(writers, 1.0)
    speakers: tuple[Speaker, ...] = ("user", "assistant")
    by = {speaker: drawn(config.writers.get(speaker) or equally, generator) for speaker in speakers}
    turns: list[dict[str, Any]] = []
    seen = [generator.randrange(len(parts))]
    evidence: list[tuple[int, tuple[int, int]]] = []
    vertex = drawn(graph.start, generator)
    while vertex != END and len(turns) < graph.max_turns:
        of = graph.vertices[vertex]
        phenomenon = _phenomenon(of.phenomena, len(turns), seen, len(parts), generator)
        seen.append(_passage(phenomenon, seen, len(parts), generator))
        if of.asks or not evidence or evidence[-1][0] != seen[-1]:
            evidence.append((seen[-1], _span(parts[seen[-1]], seen[-1], evidence, generator)))
        start, end = evidence[-1][1]
        turns.append(
            {
                "vertex": vertex,
                "speaker": of.speaker,
                "phenomenon": phenomenon,
                "passage": seen[-1],
                "start": start,
                "end": end,
                "teacher": by[of.speaker],
            }
        )
        vertex = drawn(of.next, generator)
    return {
        "conversation_id": f"{document['doc_id']}-{number}",
        "doc_id": document["doc_id"],
        "passages": parts,
        "axes": list(values.items()),
        "turns": turns,
    }


def _phenomenon(
    shares: Mapping[str, float], turn: int, seen: list[int], num_passages: int, generator: random.Random
) -> str | None:
    """What the turn is to show; nothing that it cannot: the first turn leans on nothing, a short document has
    no other passage to move to."""
    found = drawn({**shares, "": max(0.0, 1 - sum(shares.values()))}, generator)
    possible = {
        "": True,
        "disfluency": True,
        "topic_shift": turn > 0 and len(set(seen)) < num_passages,
        "topic_return": len(set(seen)) > 1,
    }
    return found if found and possible.get(found, turn > 0) else None


def _passage(phenomenon: str | None, seen: list[int], num_passages: int, generator: random.Random) -> int:
    if phenomenon == "topic_shift":
        return generator.choice([place for place in range(num_passages) if place not in seen])
    if phenomenon == "topic_return":
        return generator.choice(sorted({place for place in seen if place != seen[-1]}))
    return seen[-1]


def _span(
    passage: str, place: int, seen: list[tuple[int, tuple[int, int]]], generator: random.Random
) -> tuple[int, int]:
    """A part of the passage that no earlier turn is about; if there is none, any but the last one's."""
    every = spans(passage)
    new = [span for span in every if (place, span) not in seen]
    return generator.choice(new or [span for span in every if (place, span) != seen[-1]] or every)


def drawn(shares: Mapping[str, float], generator: random.Random) -> str:
    """One of the names, each with its share."""
    return generator.choices(list(shares), weights=list(shares.values()))[0]
