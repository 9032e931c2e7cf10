"""Retrieved candidates: the training responses nearest to each training context, by a frozen retriever.

The student is not the retriever: each new student would change the candidates, and teachers score them all.
"""

from collections.abc import Iterator
from typing import Any

from student.encoders.encoder import EncoderSource, Tally, texts_to_vectors
from student.encoders.nearest import nearest
from student.text import context_text
from teachers.dataset import Rows, write_rows
from teachers.records import NEIGHBOURS
from teachers.texts import text_key


def write_neighbours(
    examples_uri: str, output_uri: str, retriever: EncoderSource, context_turns: int, k: int, tally: Tally
) -> dict[str, int]:
    """Write NEIGHBOURS: the `k` nearest distinct responses to each training context but its gold one.

    `retriever` is dense.

    Raises:
        ValueError: there is no training example.
    """
    contexts: list[str] = []
    distinct: dict[str, None] = {}  # in their order, which decides between ties
    for row in Rows(examples_uri, "train"):
        contexts.append(context_text(row["context"], context_turns))
        distinct[row["gold_response"]] = None
    if not contexts:
        raise ValueError(f"{examples_uri}: expected training examples, got none")

    responses = list(distinct)
    vectors = texts_to_vectors({"context": contexts, "response": responses}, retriever, tally)

    def neighbour_rows() -> Iterator[dict[str, Any]]:
        # Responses that differ in case only are the same text: search a little further than k.
        neighbours = nearest(vectors["context"], vectors["response"], 2 * k + 2)
        for example, (rows, _) in zip(Rows(examples_uri, "train"), neighbours, strict=True):
            gold = text_key(example["gold_response"])
            texts = [responses[row] for row in rows if row >= 0 and text_key(responses[row]) != gold]
            yield {"example_id": example["example_id"], "responses": texts[:k]}

    return {"contexts": write_rows(output_uri, neighbour_rows(), NEIGHBOURS), "responses": len(responses)}
