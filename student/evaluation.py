"""How well systems find the true reply on held-out conversations. C contexts, N responses."""

import random
from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray

from student.config import StudentConfig
from student.encoder import Tally, texts_to_vectors
from student.metrics import DEPTH, hits_metric, rank_metrics
from student.text import context_text
from teachers.records import read_rows

NUM_CANDIDATES = 20


def evaluate_student(
    examples_uri: str,
    response_set_uri: str,
    models: dict[str, str],
    config: StudentConfig,
    num_contexts: int,
    seed: int,
    tally: Tally,
) -> dict[str, dict[str, float]]:
    """Metrics of BM25 and of each of `models` (name -> folder) on up to `num_contexts` test examples.

    `hits@1/20` ranks the true reply among itself and 19 replies of other test contexts, the same for every
    system; `mrr` and `recall@k` rank it in the response set joined by all test replies.

    Raises:
        ValueError: fewer than 20 distinct test replies.
    """
    held_out = [row for row in read_rows(examples_uri) if row["split"] == "test"]
    examples = held_out[:num_contexts]
    replies = list(dict.fromkeys(row["reply"] for row in held_out))
    if len(replies) < NUM_CANDIDATES:
        raise ValueError(f"{len(replies)} distinct test replies, {NUM_CANDIDATES} are needed")
    contexts = [context_text(row["context"], config.context_turns) for row in examples]
    responses = list(dict.fromkeys([*(row["text"] for row in read_rows(response_set_uri)), *replies]))
    position = {text: number for number, text in enumerate(responses)}
    gold = [position[row["reply"]] for row in examples]
    sampled = _sample_candidates(gold, [position[reply] for reply in replies], seed)

    scores = {"bm25": _bm25_scores(contexts, responses)}
    for name, model in models.items():
        vectors = texts_to_vectors([*contexts, *responses], model, config.max_tokens, tally)
        scores[name] = (
            np.stack([vectors[text] for text in contexts]) @ np.stack([vectors[text] for text in responses]).T
        )
    counts = {"contexts": float(len(contexts)), "responses": float(len(responses))}
    return {name: {**_metrics(found, gold, sampled), **counts} for name, found in scores.items()}


def _sample_candidates(gold: Sequence[int], replies: Sequence[int], seed: int) -> list[list[int]]:
    """For each context its gold reply and 19 others, as rows of the response set."""
    generator = random.Random(seed)
    sampled = []
    for own in gold:
        others = [reply for reply in generator.sample(replies, NUM_CANDIDATES) if reply != own]
        sampled.append([own, *others[: NUM_CANDIDATES - 1]])
    return sampled


def _bm25_scores(contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.float32]:
    """BM25 [C, N] by bm25s."""
    retriever = bm25s.BM25()
    retriever.index(bm25s.tokenize(list(responses), show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(contexts), return_ids=False, show_progress=False)
    return np.stack([retriever.get_scores(words) if words else np.zeros(len(responses)) for words in tokens])


def _metrics(
    scores: NDArray[np.float32], gold: Sequence[int], sampled: Sequence[Sequence[int]]
) -> dict[str, float]:
    qrels = {str(query): {str(own): 1} for query, own in enumerate(gold)}
    ranked: dict[str, dict[str, float]] = {}
    among: dict[str, dict[str, float]] = {}
    for query, (row, own, candidates) in enumerate(zip(scores, gold, sampled, strict=True)):
        kept = min(DEPTH + 1, len(row))
        best = np.argpartition(-row, kept - 1)[:kept]
        ranked[str(query)] = {str(i): float(row[i]) for i in {*best.tolist(), own}}
        among[str(query)] = {str(i): float(row[i]) for i in candidates}
    return {**hits_metric(qrels, among), **rank_metrics(qrels, ranked)}
