"""Indexes for a sparse student: build time, recall and latency, by the number of responses.

    uv pip install pyseismic-lsr==0.5.4     (not a dependency of the project)
    python benchmarks/inverted.py [--quick]

Real responses and contexts with the terms of the packaged SPLADE checkpoint; further responses join halves
of the terms of two real ones. One query at a time on one thread, recall against exact search. Without bm25s:
its scorer adds up the scores of a query's words and takes no weights for them.
The last line is JSON: the milliseconds of our postings divided by those of each other at the largest size.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAYON_NUM_THREADS"] = "1"

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_matrix, vstack
from vectors import real_responses

from serve.inverted import invert
from student.encoders.encoder import EncoderSource, embed_texts, load_encoder
from student.encoders.packaged import resolve_model
from student.text import context_text

SIZES, QUICK_SIZES = (20_000, 100_000, 500_000), (5_000, 50_000)
K = 10
CUTS = (8, 16)  # terms of a query that Seismic looks up
HEAP_FACTOR = 0.9
Search = Callable[[csr_matrix], list[int]]


def embed(count: int) -> tuple[csr_matrix, csr_matrix]:
    """Vectors [N, D] of responses and [Q, D] of contexts."""
    encoder = load_encoder(EncoderSource(resolve_model("cassette-splade"), "sparse", 64))
    responses, conversations = real_responses(count)
    contexts = [context_text(conversation, 4) for conversation in conversations]
    return embed_texts(encoder, responses, "response"), embed_texts(encoder, contexts, "context")


def enlarge(real: csr_matrix, size: int) -> csr_matrix:
    """`size` vectors [N, D]: the real ones, then a random half of the terms of each of two."""
    if size <= real.shape[0]:
        return real[:size]
    generator = np.random.default_rng(0)
    missing = size - real.shape[0]

    made = csr_matrix((missing, real.shape[1]), dtype=np.float32)
    for _ in range(2):
        half = real[generator.integers(real.shape[0], size=missing)]
        half.data = half.data * (generator.random(half.nnz) < 0.5)
        made = made.maximum(half)
    made.eliminate_zeros()
    return vstack([real, made], format="csr")


def by_postings(responses: csr_matrix) -> Search:
    """The index that a replica searches."""
    index = invert(responses)
    return lambda query: index.search(query, K)[1][0].tolist()


def by_product(responses: csr_matrix) -> Search:
    """The product of two sparse matrices, the simplest code for exact search."""
    transposed = responses.T.tocsr()

    def search(query: csr_matrix) -> list[int]:
        scores = (query @ transposed).toarray()[0]
        best = np.argpartition(-scores, K)[:K]
        rows: list[int] = best[np.argsort(-scores[best])].tolist()
        return rows

    return search


def by_seismic(responses: csr_matrix, cut: int) -> Search:
    """Seismic (Bruch et al. 2024), which is approximate, with its defaults except for `cut`."""
    import seismic

    sorted_ones = responses.sorted_indices()
    dataset = seismic.SeismicDataset()
    dataset.add_documents_by_id(
        [str(row) for row in range(responses.shape[0])],
        sorted_ones.indices.astype(np.int64),
        sorted_ones.data.astype(np.float32),
        sorted_ones.indptr.astype(np.int64),
    )
    index = seismic.SeismicIndex.build_from_dataset(dataset)
    text = seismic.get_seismic_string()

    def search(query: csr_matrix) -> list[int]:
        terms = query.indices.astype(str).astype(text)
        results = index.search("q", terms, query.data.astype(np.float32), K, cut, HEAP_FACTOR)
        return [int(doc_id) for _, _, doc_id in results]

    return search


def measure(search: Search, queries: csr_matrix) -> dict[str, Any]:
    """Milliseconds of each query at its second search, and the rows of its results."""
    rows, seconds = [], []
    for again in (False, True):
        for query in queries:
            start = time.perf_counter()
            query_rows = search(query)
            if again:
                seconds.append(time.perf_counter() - start)
                rows.append(query_rows)

    quantiles = np.quantile(seconds, [0.5, 0.99])
    return {"ms": 1000 * quantiles[0], "p99_ms": 1000 * quantiles[1], "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="the small sizes only")
    sizes = QUICK_SIZES if parser.parse_args().quick else SIZES
    real, queries = embed(sizes[0])
    kinds: dict[str, Callable[[csr_matrix], Search]] = {"postings": by_postings, "product": by_product}
    kinds |= {f"Seismic, {cut} terms": lambda responses, cut=cut: by_seismic(responses, cut) for cut in CUTS}

    ratios: dict[str, float] = {}
    for size in sizes:
        responses = enlarge(real, size)
        terms = responses.nnz / size
        table = Table("kind", "build s", "recall@10", "ms", "p99 ms", title=f"{size:,} of {terms:.0f} terms")
        exact: dict[str, Any] = {}
        for kind, build in kinds.items():
            start = time.perf_counter()
            search = build(responses)
            built_s = time.perf_counter() - start
            measured = measure(search, queries)

            exact = exact or measured
            both = zip(measured["rows"], exact["rows"], strict=True)
            recall = statistics.mean(len(set(row) & set(best)) / K for row, best in both)
            ratios[kind] = exact["ms"] / measured["ms"]
            latencies = (f"{measured['ms']:.2f}", f"{measured['p99_ms']:.2f}")
            table.add_row(kind, f"{built_s:.1f}", f"{recall:.3f}", *latencies)

        Console().print(table)
    print(json.dumps({f"speedup {kind}": round(ratio, 2) for kind, ratio in ratios.items()}))


if __name__ == "__main__":
    main()
