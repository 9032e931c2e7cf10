"""Embedding many texts: sentence-transformers in float32, and ours, in bf16 where the hardware supports it.

    python benchmarks/embedding.py [--quick]

The packaged encoders on real contexts and their responses. The last line is JSON, its ratios medians.
"""

import argparse
import json
import os
import random
import statistics
import time
from itertools import chain

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from machine import matrix_rate
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_matrix
from sentence_transformers import SparseEncoder

from student.config import Kind
from student.encoders.encoder import (
    Encoder,
    EncoderSource,
    Side,
    Vectors,
    embed_texts,
    inner_products,
    load_encoder,
)
from student.encoders.packaged import resolve_model
from student.encoders.precision import mixed_precision
from student.evaluation.ranking import ranking_metrics, sample_candidates
from teachers.corpora.conversations import CHITCHAT, clean, read

MAX_TOKENS, TURNS = 128, 4
KINDS: tuple[Kind, ...] = ("dense", "sparse")
Texts = dict[Side, list[str]]


def real_texts(count: int) -> Texts:
    """Contexts of up to TURNS turns and the response to each; no response twice."""
    pairs: dict[str, str] = {}
    for _, row in read(CHITCHAT):
        turns = [message["content"] for message in clean(row, 400).messages]
        for end in range(1, len(turns)):
            pairs.setdefault(turns[end], "\n".join(turns[max(0, end - TURNS) : end]))
    chosen = random.Random(0).sample(sorted(pairs), count)
    return {"context": [pairs[response] for response in chosen], "response": chosen}


def timed(encoder: Encoder, texts: Texts) -> tuple[float, dict[Side, Vectors]]:
    """Seconds, and each side's vectors."""
    start = time.perf_counter()
    vectors = {side: embed_texts(encoder, side_texts, side) for side, side_texts in texts.items()}
    return time.perf_counter() - start, vectors


def mrr(vectors: dict[Side, Vectors]) -> float:
    """MRR of each context's response among all responses."""
    gold = list(range(vectors["context"].shape[0]))
    scores = inner_products(vectors["context"], vectors["response"])
    return ranking_metrics(scores, gold, sample_candidates(gold, gold, 0))["mrr"]


def smallest_cosine(one: Vectors, other: Vectors) -> float:
    """The smallest cosine of a text's vectors, rows of [N, D], from two ways."""
    first, second = dense(one), dense(other)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(axis=1) / lengths).min())


def dense(vectors: Vectors) -> np.ndarray:
    return vectors.toarray() if isinstance(vectors, csr_matrix) else np.asarray(vectors)


def matrix_work(encoder: Encoder, texts: Texts) -> float:
    """Floating-point operations that the weights' products need for the texts' tokens, without padding."""
    model = encoder[0].model
    weights = sum(parameter.numel() for parameter in model.parameters())
    if not isinstance(encoder, SparseEncoder):  # a sparse encoder also multiplies with its embeddings
        weights -= model.get_input_embeddings().weight.numel()
    every = list(chain(*texts.values()))
    tokens = sum(map(len, encoder.tokenizer(every, truncation=True, max_length=MAX_TOKENS)["input_ids"]))
    return 2.0 * tokens * weights


def compare(kind: Kind, texts: Texts, rounds: int) -> dict[str, float]:
    """Measure both ways in alternation, with one encoder."""
    name = {"dense": "all-minilm-l6-v2", "sparse": "cassette-splade"}[kind]
    encoder = load_encoder(EncoderSource(resolve_model(name), kind, MAX_TOKENS))
    timed(encoder, {side: side_texts[:64] for side, side_texts in texts.items()})

    plain, ours = [], []
    for _ in range(rounds):
        seconds, expected = timed(encoder, texts)
        plain.append(seconds)
        with mixed_precision(encoder.device, "auto"):
            seconds, vectors = timed(encoder, texts)
        ours.append(seconds)

    count = sum(map(len, texts.values()))
    return {
        "plain_texts_per_s": count / statistics.median(plain),
        "texts_per_s": count / statistics.median(ours),
        "speedup": statistics.median(one / other for one, other in zip(plain, ours, strict=True)),
        "of_matrix_rate": matrix_work(encoder, texts) / statistics.median(ours) / matrix_rate(),
        "plain_mrr": mrr(expected),
        "mrr": mrr(vectors),
        "smallest_cosine": min(smallest_cosine(vectors[side], expected[side]) for side in texts),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one round of fewer texts")
    quick = parser.parse_args().quick
    torch.set_num_threads(os.cpu_count() or 1)
    texts = real_texts(500 if quick else 2000)
    results = {kind: compare(kind, texts, rounds=1 if quick else 3) for kind in KINDS}

    table = Table("", *KINDS)
    for figure in results[KINDS[0]]:
        table.add_row(figure.replace("_", " "), *(f"{results[kind][figure]:.4g}" for kind in KINDS))
    Console().print(table)

    summary: dict[str, float] = {}
    for kind in KINDS:
        for figure in ("speedup", "of_matrix_rate", "smallest_cosine"):
            summary[f"{kind}_{figure}"] = round(results[kind][figure], 4)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
