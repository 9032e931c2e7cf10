"""Retrieved candidates: the training replies nearest to each training context, by the untrained student."""

from typing import Any

import faiss
import numpy as np

from student.encoder import Tally, texts_to_vectors
from student.text import context_text
from teachers.records import NEIGHBOURS, read_rows, write_rows

_CONTEXTS_PER_SEARCH = 1024


def write_neighbours(
    examples_uri: str, output_uri: str, model: str, max_tokens: int, context_turns: int, k: int, tally: Tally
) -> dict[str, int]:
    """Writes NEIGHBOURS: the `k` nearest distinct replies to each training context, not its own.

    Raises:
        ValueError: there is no training example.
    """
    examples = [row for row in read_rows(examples_uri) if row["split"] == "train"]
    if not examples:
        raise ValueError(f"{examples_uri}: no training examples")
    contexts = [context_text(row["context"], context_turns) for row in examples]
    replies = list(dict.fromkeys(row["reply"] for row in examples))
    vectors = texts_to_vectors([*contexts, *replies], model, max_tokens, tally)
    searched = faiss.IndexFlatIP(len(vectors[replies[0]]))
    searched.add(np.stack([vectors[reply] for reply in replies]))
    rows: list[dict[str, Any]] = []
    for start in range(0, len(examples), _CONTEXTS_PER_SEARCH):
        chunk = slice(start, start + _CONTEXTS_PER_SEARCH)
        # Replies that differ in case only stand for the same text: look a little further than k.
        found = searched.search(np.stack([vectors[text] for text in contexts[chunk]]), 2 * k + 2)[1]
        for example, nearest in zip(examples[chunk], found, strict=True):
            own = example["reply"].casefold()
            texts = [replies[i] for i in nearest if i >= 0 and replies[i].casefold() != own]
            rows.append({"example_id": example["example_id"], "replies": texts[:k]})
    write_rows(output_uri, rows, NEIGHBOURS)
    return {"contexts": len(rows), "replies": len(replies)}
