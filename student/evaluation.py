"""How well systems find the true reply on held-out conversations. C contexts, N responses."""

from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray

from student.encoder import EncoderSource, Tally, inner_products, texts_to_vectors
from student.metrics import sparsity_metrics
from student.ranking import NUM_CANDIDATES, ranking_metrics, sample_candidates
from student.text import context_text
from teachers.records import read_rows


def evaluate_student(
    examples_uri: str,
    response_set_uri: str,
    models: dict[str, EncoderSource],
    context_turns: int,
    num_contexts: int,
    seed: int,
    tally: Tally,
) -> dict[str, dict[str, float]]:
    """Metrics of BM25 and of each of `models` (name -> encoder) on up to `num_contexts` test examples.

    `hits@1/20` ranks the true reply among itself and 19 replies of other test contexts, the same for every
    system; `mrr` and `recall@k` rank it in the response set joined by all test replies.
    A sparse system has `context_terms`, `response_terms` and `flops` as well, of the same texts.

    Raises:
        ValueError: fewer than 20 distinct test replies.
    """
    held_out = [row for row in read_rows(examples_uri) if row["split"] == "test"]
    examples = held_out[:num_contexts]
    replies = list(dict.fromkeys(row["reply"] for row in held_out))
    if len(replies) < NUM_CANDIDATES:
        raise ValueError(f"{len(replies)} distinct test replies, {NUM_CANDIDATES} are needed")
    contexts = [context_text(row["context"], context_turns) for row in examples]
    responses = list(dict.fromkeys([*(row["text"] for row in read_rows(response_set_uri)), *replies]))
    position = {text: number for number, text in enumerate(responses)}
    gold = [position[row["reply"]] for row in examples]
    sampled = sample_candidates(gold, [position[reply] for reply in replies], seed)

    systems = {"bm25": ranking_metrics(_bm25_scores(contexts, responses), gold, sampled)}
    for name, source in models.items():
        vectors = texts_to_vectors({"context": contexts, "response": responses}, source, tally)
        scores = inner_products(vectors["context"], vectors["response"])
        systems[name] = ranking_metrics(scores, gold, sampled)
        if source.kind == "sparse":
            systems[name] |= sparsity_metrics(vectors["context"], vectors["response"])
    counts = {"contexts": float(len(contexts)), "responses": float(len(responses))}
    return {name: {**metrics, **counts} for name, metrics in systems.items()}


def _bm25_scores(contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.float32]:
    """BM25 [C, N] by bm25s."""
    retriever = bm25s.BM25()
    retriever.index(bm25s.tokenize(list(responses), show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(contexts), return_ids=False, show_progress=False)
    return np.stack([retriever.get_scores(words) if words else np.zeros(len(responses)) for words in tokens])
