"""Retrieved candidates: the training replies nearest to each training context, by a frozen retriever.

Not by the student: another student would otherwise have other candidates, and the teachers to score them.
"""

from typing import Any

import faiss

from student.encoder import EncoderSource, Tally, texts_to_vectors
from student.text import context_text
from teachers.records import NEIGHBOURS, read_rows, write_rows

_CONTEXTS_PER_SEARCH = 1024


def write_neighbours(
    examples_uri: str, output_uri: str, retriever: EncoderSource, context_turns: int, k: int, tally: Tally
) -> dict[str, int]:
    """Writes NEIGHBOURS: the `k` nearest distinct replies to each training context, not its own.

    `retriever` is dense.

    Raises:
        ValueError: there is no training example.
    """
    examples = [row for row in read_rows(examples_uri) if row["split"] == "train"]
    if not examples:
        raise ValueError(f"{examples_uri}: no training examples")
    contexts = [context_text(row["context"], context_turns) for row in examples]
    replies = list(dict.fromkeys(row["reply"] for row in examples))
    vectors = texts_to_vectors({"context": contexts, "response": replies}, retriever, tally)
    queries = vectors["context"]
    searched = faiss.IndexFlatIP(queries.shape[1])
    searched.add(vectors["response"])
    rows: list[dict[str, Any]] = []
    for start in range(0, len(examples), _CONTEXTS_PER_SEARCH):
        chunk = slice(start, start + _CONTEXTS_PER_SEARCH)
        # Replies that differ in case only stand for the same text: look a little further than k.
        found = searched.search(queries[chunk], 2 * k + 2)[1]
        for example, nearest in zip(examples[chunk], found, strict=True):
            own = example["reply"].casefold()
            texts = [replies[i] for i in nearest if i >= 0 and replies[i].casefold() != own]
            rows.append({"example_id": example["example_id"], "replies": texts[:k]})
    write_rows(output_uri, rows, NEIGHBOURS)
    return {"contexts": len(rows), "replies": len(replies)}
