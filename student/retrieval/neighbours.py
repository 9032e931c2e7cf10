"""Retrieved candidates: the training responses nearest to contexts that teachers see, by a frozen retriever.

The student is not the retriever: each new student would change the candidates, and teachers score them all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from student.encoders.embedding import Tally, texts_to_vectors
from student.encoders.encoder import EncoderSource
from student.encoders.nearest import nearest
from student.text import context_text
from teachers.dataset import Rows, write_rows
from teachers.records import NEIGHBOURS
from teachers.texts import said_keys, text_key


@dataclass(frozen=True)
class Retrieval:
    """How neighbours are retrieved."""

    retriever: EncoderSource
    """A dense one"""
    context_turns: int
    """Newest turns of a context that it reads"""
    depth: int
    """Responses per context"""


def write_neighbours(
    examples_uri: str, contexts_uri: str, output_uri: str, retrieval: Retrieval, tally: Tally
) -> dict[str, int]:
    """Write NEIGHBOURS: the nearest distinct training responses to each of the contexts.

    The gold response and what the context has already said are none of them.

    Raises:
        ValueError: there is no training example.
    """
    distinct: dict[str, None] = {}  # in their order, which decides between ties
    for row in Rows(examples_uri, "train"):
        distinct[row["gold_response"]] = None
    if not distinct:
        raise ValueError(f"{examples_uri}: expected training examples, got none")

    contexts: list[str] = []
    for row in Rows(contexts_uri):
        contexts.append(context_text(row["context"], retrieval.context_turns))
    responses = list(distinct)
    vectors = texts_to_vectors({"context": contexts, "response": responses}, retrieval.retriever, tally)

    def neighbour_rows() -> Iterator[dict[str, Any]]:
        # Search further: the gold response and the context's turns, in any spelling, are left out.
        neighbours = nearest(vectors["context"], vectors["response"], 2 * retrieval.depth + 8)
        for example, (rows, _) in zip(Rows(contexts_uri), neighbours, strict=True):
            excluded = {text_key(example["gold_response"] or ""), *said_keys(example["context"])}
            texts: list[str] = []
            for row in rows[rows >= 0]:
                if text_key(responses[row]) not in excluded:
                    texts.append(responses[row])
            yield {"example_id": example["example_id"], "responses": texts[: retrieval.depth]}

    return {"contexts": write_rows(output_uri, neighbour_rows(), NEIGHBOURS), "responses": len(responses)}
