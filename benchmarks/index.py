"""Kinds of index for a dense student: build time, memory, recall and latency at three sizes.

    python benchmarks/index.py [--quick]

Real responses embedded by the packaged encoder; beyond them, points between two real ones that are near each
other. Queries are real contexts. Recall is against exact search. The last line is JSON: the milliseconds of
exact search divided by those of each kind at the largest size.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table
from vectors import Matrix, embed, enlarge, real_responses

from serve.config import IndexConfig

SIZES, QUICK_SIZES = (20_000, 250_000, 1_000_000), (20_000, 50_000)
K = 10
KINDS = {
    "exact": "Flat",
    "exact, 8 bits": "SQ8",
    "HNSW": "HNSW32,Flat",
    "HNSW, 8 bits": "HNSW32,SQ8",
    "IVF, 8 bits": "IVF{lists},SQ8",
}
EF_SEARCH, SHARE_OF_LISTS = IndexConfig().hnsw_ef_search, 1 / 64


def build(kind: str, vectors_file: Path, index_file: Path) -> dict[str, float]:
    """Write the index, with all threads."""
    vectors = np.load(vectors_file, mmap_mode="r")
    lists = 4 * int(len(vectors) ** 0.5)
    index = faiss.index_factory(vectors.shape[1], KINDS[kind].format(lists=lists), faiss.METRIC_INNER_PRODUCT)

    start = time.perf_counter()
    if not index.is_trained:
        index.train(np.ascontiguousarray(vectors[:: max(1, len(vectors) // (50 * lists))]))
    index.add(vectors)
    seconds = time.perf_counter() - start
    faiss.write_index(index, str(index_file))
    return {"build_s": seconds, "file_mb": index_file.stat().st_size / 1e6}


def search(kind: str, index_file: Path, queries: Matrix) -> dict[str, Any]:
    """Search one query at a time on one thread, in the memory-mapped file."""
    faiss.omp_set_num_threads(1)
    before = private_mb()
    index = faiss.read_index(str(index_file), faiss.IO_FLAG_MMAP_IFC)

    parameters = None
    if kind.startswith("HNSW"):
        parameters = faiss.SearchParametersHNSW(efSearch=EF_SEARCH)
    elif kind.startswith("IVF"):
        parameters = faiss.SearchParametersIVF(nprobe=max(1, int(index.nlist * SHARE_OF_LISTS)))
    index.search(queries, K, params=parameters)  # brings the pages in

    seconds, rows = [], []
    for query in queries:
        start = time.perf_counter()
        rows.append(index.search(query[None], K, params=parameters)[1][0])
        seconds.append(time.perf_counter() - start)

    return {
        "private_mb": private_mb() - before,
        "ms": 1000 * statistics.median(seconds),
        "p99_ms": 1000 * float(np.quantile(seconds, 0.99)),
        "rows": np.stack(rows),
    }


def private_mb() -> float:
    """Anonymous memory, which no other process can share."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    return int(dict(line.split(":") for line in lines)["Anonymous"].split()[0]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="the small sizes only")
    sizes = QUICK_SIZES if parser.parse_args().quick else SIZES
    alone = multiprocessing.get_context("spawn")
    with alone.Pool(1) as pool:
        real, queries = pool.apply(embed, real_responses(sizes[0]))

    speedups: dict[str, float] = {}
    for size in sizes:
        table = Table(
            "kind", "build s", "file MB", "private MB", "recall@10", "ms", "p99 ms", title=f"{size:,}"
        )
        with tempfile.TemporaryDirectory(prefix="rejoinder-index-") as scratch:
            vectors_file = Path(scratch) / "vectors.npy"
            np.save(vectors_file, enlarge(real, size))
            exact: dict[str, Any] = {}
            for kind in KINDS:
                index_file = Path(scratch) / "index.faiss"
                with alone.Pool(1) as pool:
                    built = pool.apply(build, (kind, vectors_file, index_file))
                with alone.Pool(1) as pool:
                    searched = pool.apply(search, (kind, index_file, queries))

                exact = exact or searched
                both = zip(searched["rows"], exact["rows"], strict=True)
                recall = statistics.mean(len(set(row) & set(best)) / K for row, best in both)
                speedups[kind] = exact["ms"] / searched["ms"]

                sizes_mb = (f"{built['file_mb']:.1f}", f"{searched['private_mb']:.1f}")
                latencies = (f"{searched['ms']:.2f}", f"{searched['p99_ms']:.2f}")
                table.add_row(kind, f"{built['build_s']:.1f}", *sizes_mb, f"{recall:.3f}", *latencies)
                print(f"{size:,} {kind}: built in {built['build_s']:.0f} s, recall {recall:.3f}", flush=True)
        Console().print(table)
    print(json.dumps({f"speedup {kind}": round(value, 2) for kind, value in speedups.items()}))


if __name__ == "__main__":
    main()
