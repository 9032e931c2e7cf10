"""Training speed: ours beside sentence-transformers' own trainer and a bare torch loop.

    python benchmarks/training.py [--quick]

The same model (all-minilm-l6-v2), contexts, candidates, negatives, steps, precision (bf16) and loss: 0.9
times cross-entropy against all other responses of the step (MultipleNegativesRankingLoss) plus 0.1 times the
KL divergence over a context's four candidates (DistillKLDivLoss). Dropout is off, so that the losses can be
compared. Each way runs in separate processes, one after the other; ours is the whole stage: Ray Data, Ray
Train, DeepSpeed. Rounds of the ways alternate, medians are shown. The last line is JSON.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training_ways import (
    CANDIDATES,
    CONTEXTS_PER_STEP,
    MAX_TOKENS,
    THREADS,
    TURNS,
    Result,
    by_bare_loop,
    by_ours,
    make_model,
    real_rows,
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few steps, one round, under 5 minutes")
    options = parser.parse_args()
    steps, rounds = (14, 1) if options.quick else (34, 3)
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder) / "model")
        rows = real_rows(steps * CONTEXTS_PER_STEP)
        ways: dict[str, Callable[[], Result]] = {
            "sentence-transformers' trainer": lambda: in_process(by_sentence_transformers, model, rows),
            "bare torch loop": lambda: in_process(by_bare_loop, model, rows),
            "ours, 1 worker": lambda: in_process(by_ours, model, rows, 1),
            "ours, 2 workers": lambda: in_process(by_ours, model, rows, 2),
        }

        results: dict[str, list[Result]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, measure in ways.items():
                results[way].append(measure())
                show(way, results[way][-1])

        machine = in_process(measure_machine, model, rows)
    summarise(results, machine)


def in_process(work: Callable[..., Result], *arguments: Any) -> Result:
    """Run work in a separate process, whose threads and memory are gone afterwards; return its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(quietly, (work, *arguments))


def by_sentence_transformers(model: str, rows: list[dict[str, Any]]) -> Result:
    from training_baseline import train

    return train(model, rows)


def quietly(work: Callable[..., Result], *arguments: Any) -> Result:
    os.environ.update(
        HF_HUB_OFFLINE="1", RAY_USAGE_STATS_ENABLED="0", WANDB_MODE="disabled", TOKENIZERS_PARALLELISM="false"
    )
    import logging

    logging.disable(logging.WARNING)
    return work(*arguments)


def measure_machine(model: str, rows: list[dict[str, Any]]) -> Result:
    """The matrix-multiply rate, and the least work of a context with its candidates, forward and backward."""
    import torch
    from machine import matrix_rate
    from sentence_transformers import SentenceTransformer

    from student.text import context_text

    torch.set_num_threads(THREADS)
    encoder = SentenceTransformer(model, device="cpu")
    encoder.max_seq_length = MAX_TOKENS
    bert = encoder[0].model
    layer_weights = sum(parameter.numel() for parameter in bert.encoder.parameters())
    config = bert.config

    flop = 0.0
    for row in rows:
        responses = [candidate["text"] for candidate in row["candidates"]]
        texts = [context_text(row["context"], TURNS), *responses]
        for tokens in encoder.preprocess(texts)["attention_mask"].sum(dim=1).tolist():
            attention = 4 * config.num_hidden_layers * tokens**2 * config.hidden_size
            flop += 3 * (2 * layer_weights * tokens + attention)
    return {"flop_per_s": matrix_rate(), "flop_per_context": flop / len(rows)}


def show(way: str, measured: Result) -> None:
    data = f", waiting for data {measured['data_share']:.1%}" if "data_share" in measured else ""
    pairs = measured["contexts_per_s"] * CANDIDATES
    print(f"{way:32} {pairs:6.1f} pairs/s, peak {measured['peak_mib']:5.0f} MiB{data}", flush=True)


def summarise(results: dict[str, list[Result]], machine: Result) -> None:
    """Print medians, shares of the machine's rate, losses, and ratios as JSON."""
    medians: dict[str, float] = {}
    for way, rounds in results.items():
        medians[way] = statistics.median(measured["contexts_per_s"] for measured in rounds)

    print(f"matrix products: {machine['flop_per_s'] / 1e9:.0f} GFLOP/s on {THREADS} threads, bfloat16")
    for way, rate in medians.items():
        share = rate * machine["flop_per_context"] / machine["flop_per_s"]
        first, last = mean_of_ends(results[way][0]["losses"], by_pairs="ours" in way)
        print(
            f"{way:32} {rate * CANDIDATES:6.1f} pairs/s, least work at {share:.0%} of the matrix rate, "
            f"loss {first:.4f} in the first two steps, {last:.4f} in the last ten"
        )

    theirs = medians["sentence-transformers' trainer"]
    ours, two = medians["ours, 1 worker"], medians["ours, 2 workers"]
    best_single = max(rate for way, rate in medians.items() if way != "ours, 2 workers")
    data_share = statistics.median(measured["data_share"] for measured in results["ours, 1 worker"])
    ratios = {
        "ratio_to_sentence_transformers": round(max(ours, two) / theirs, 3),
        "ratio_to_sentence_transformers_one_worker": round(ours / theirs, 3),
        "ratio_two_workers": round(two / best_single, 3),
        "data_share": round(data_share, 4),
    }
    print(json.dumps(ratios))


def mean_of_ends(losses: list[float], by_pairs: bool) -> tuple[float, float]:
    """Mean loss of the first two and of the last ten steps."""
    size = 1 if by_pairs else 2
    return statistics.mean(losses[:size]), statistics.mean(losses[-5 * size :])


if __name__ == "__main__":
    main()
