"""Retrieved candidates: the training replies nearest to each training context, by a frozen retriever.

Not by the student: another student would otherwise have other candidates, and the teachers to score them.
"""

from collections.abc import Iterator
from typing import Any

from student.encoders.encoder import EncoderSource, Tally, texts_to_vectors
from student.encoders.nearest import nearest
from student.text import context_text
from teachers.dataset import Rows, write_rows
from teachers.records import NEIGHBOURS


def write_neighbours(
    examples_uri: str, output_uri: str, retriever: EncoderSource, context_turns: int, k: int, tally: Tally
) -> dict[str, int]:
    """Writes NEIGHBOURS: the `k` nearest distinct replies to each training context, not its own.

    `retriever` is dense.

    Raises:
        ValueError: there is no training example.
    """
    contexts = [context_text(row["context"], context_turns) for row in Rows(examples_uri, "train")]
    if not contexts:
        raise ValueError(f"{examples_uri}: no training examples")
    replies = list(dict.fromkeys(row["gold_response"] for row in Rows(examples_uri, "train")))
    vectors = texts_to_vectors({"context": contexts, "response": replies}, retriever, tally)

    def rows() -> Iterator[dict[str, Any]]:
        # Replies that differ in case only stand for the same text: look a little further than k.
        found = nearest(vectors["context"], vectors["response"], 2 * k + 2)
        for example, (places, _) in zip(Rows(examples_uri, "train"), found, strict=True):
            own = example["gold_response"].casefold()
            texts = [replies[i] for i in places if i >= 0 and replies[i].casefold() != own]
            yield {"example_id": example["example_id"], "responses": texts[:k]}

    return {"contexts": write_rows(output_uri, rows(), NEIGHBOURS), "responses": len(replies)}
