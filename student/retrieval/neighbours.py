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
from teachers.texts import said_keys, text_key


def write_neighbours(
    examples_uri: str, output_uri: str, retriever: EncoderSource, context_turns: int, k: int, tally: Tally
) -> dict[str, int]:
    """Write NEIGHBOURS: the `k` nearest distinct responses to each training context.

    The gold response and what the context has already said are none of them.

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
        # Search further than k: the gold response and the context's turns, in any spelling, are left out.
        neighbours = nearest(vectors["context"], vectors["response"], 2 * k + 8)
        for example, (rows, _) in zip(Rows(examples_uri, "train"), neighbours, strict=True):
            excluded = {text_key(example["gold_response"]), *said_keys(example["context"])}
            texts: list[str] = []
            for row in rows[rows >= 0]:
                if text_key(responses[row]) not in excluded:
                    texts.append(responses[row])
            yield {"example_id": example["example_id"], "responses": texts[:k]}

    return {"contexts": write_rows(output_uri, neighbour_rows(), NEIGHBOURS), "responses": len(responses)}
