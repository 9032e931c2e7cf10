"""Training speed: ours beside sentence-transformers' own trainer and a bare torch loop.

    python benchmarks/training.py [--quick]

The same model (all-minilm-l6-v2), contexts, candidates, negatives, steps, precision (bf16) and loss: 0.9
times cross-entropy against all other responses of the step (MultipleNegativesRankingLoss) plus 0.1 times the
KL divergence over a context's four candidates (DistillKLDivLoss). Dropout is off, so that the losses can be
compared. Each way runs in processes of its own, one after the other; ours is the whole of it: Ray Data,
Ray Train, DeepSpeed. Rounds of the ways alternate, medians are shown. The last line is JSON.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONTEXTS_PER_STEP = 32
CANDIDATES = 4
THREADS = 2
MAX_TOKENS = 64
TURNS = 2
SCALE = 20.0
LEARNING_RATE = 2e-5
# Steps at the beginning that are not counted: kernels are chosen, memory is got.
WARM_UP = 4
ALPHA = 0.1

Result = dict[str, Any]


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
    """The result of a work in a process of its own: its threads and memory are gone after it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(quietly, (work, *arguments))


def quietly(work: Callable[..., Result], *arguments: Any) -> Result:
    os.environ.update(
        HF_HUB_OFFLINE="1", RAY_USAGE_STATS_ENABLED="0", WANDB_MODE="disabled", TOKENIZERS_PARALLELISM="false"
    )
    import logging

    logging.disable(logging.WARNING)
    return work(*arguments)


def make_model(folder: Path) -> str:
    """The packaged encoder without dropout."""
    from student.encoders.encoder import EncoderSource, load_encoder
    from student.encoders.packaged import resolve_model

    encoder = load_encoder(EncoderSource(resolve_model("all-minilm-l6-v2"), "dense", MAX_TOKENS))
    config = encoder[0].model.config
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    encoder.save(str(folder))
    return str(folder)


def real_rows(count: int) -> list[dict[str, Any]]:
    """TARGETS of real contexts, each with its reply and three replies of others, under made-up targets."""
    from teachers.corpora.conversations import CHITCHAT, clean, read

    generator = random.Random(0)
    pairs: dict[str, list[dict[str, str]]] = {}
    for _, row in read(CHITCHAT):
        messages = clean(row, 400).messages
        for end in range(2, len(messages), 2):
            # Each reply once, so that every way has the same negatives.
            pairs.setdefault(messages[end]["content"].casefold(), messages[max(0, end - TURNS) : end + 1])
    chosen = generator.sample(list(pairs.values()), count * CANDIDATES)
    rows = []
    for number in range(count):
        gold, *others = chosen[number * CANDIDATES : (number + 1) * CANDIDATES]
        candidates = [{"text": gold[-1]["content"], "source": "gold", "teacher": None}]
        candidates += [
            {"text": other[-1]["content"], "source": "random", "teacher": None} for other in others
        ]
        logits = [generator.gauss(0, 1) for _ in candidates]
        weights = [math.exp(logit) for logit in logits]
        rows.append(
            {
                "example_id": f"{number:06d}",
                "split": "train",
                "context": gold[:-1],
                "candidates": candidates,
                "target_probs": [weight / sum(weights) for weight in weights],
            }
        )
    return rows


def our_config(model: str, workers: int) -> Any:
    from student.config import StudentConfig

    return StudentConfig(
        model=model,
        max_tokens=MAX_TOKENS,
        context_turns=TURNS,
        similarity_scale=SCALE,
        cross_entropy_weight=1 - ALPHA,
        kl_weight=ALPHA,
        global_batch_size=CONTEXTS_PER_STEP,
        learning_rate=LEARNING_RATE,
        warmup_share=0,
        num_workers=workers,
        cpus_per_worker=THREADS // workers,
        precision="bf16",
        report_every_steps=2,
        checkpoint_every_steps=1_000_000,
    )


def in_our_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in the order in which ours takes them."""
    from student.text import context_text
    from student.training.batches import epoch_batches

    by_text = {context_text(row["context"], TURNS): row for row in rows}

    def windows(size: int) -> list[list[dict[str, Any]]]:
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    batches = epoch_batches(windows, 0, 0, our_config("", 1))
    return [by_text[context] for batch in batches for context in batch.contexts]


def by_sentence_transformers(model: str, rows: list[dict[str, Any]]) -> Result:
    """Its trainer, as its documentation has it, with bf16, and its two losses on one encoding."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.sentence_transformer.losses import (
        DistillKLDivLoss,
        MultipleNegativesRankingLoss,
    )
    from sentence_transformers.util import pairwise_cos_sim
    from transformers import TrainerCallback

    from student.text import context_text

    torch.set_num_threads(THREADS)
    encoder = SentenceTransformer(model, device="cpu")
    encoder.max_seq_length = MAX_TOKENS
    ordered = in_our_order(rows)
    columns: dict[str, list[Any]] = {
        "context": [context_text(row["context"], TURNS) for row in ordered],
        **{
            f"response{number}": [row["candidates"][number]["text"] for row in ordered]
            for number in range(CANDIDATES)
        },
        "label": [[math.log(prob) for prob in row["target_probs"]] for row in ordered],
    }

    class BothLosses(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder
            self.ranking = MultipleNegativesRankingLoss(encoder, scale=SCALE)
            self.distillation = DistillKLDivLoss(
                encoder, similarity_fct=lambda one, other: SCALE * pairwise_cos_sim(one, other)
            )

        def forward(self, sentence_features: Any, labels: torch.Tensor) -> torch.Tensor:
            vectors = [self.model(features)["sentence_embedding"] for features in sentence_features]
            ranking = self.ranking.compute_loss_from_embeddings(vectors, None)
            distillation = self.distillation.compute_loss_from_embeddings(vectors, labels)
            return (1 - ALPHA) * ranking + ALPHA * distillation

    class InOrder(DefaultBatchSampler):
        def __iter__(self) -> Any:
            for start in range(0, len(ordered), CONTEXTS_PER_STEP):
                yield list(range(start, start + CONTEXTS_PER_STEP))

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as output:
        trainer = SentenceTransformerTrainer(
            model=encoder,
            args=Arguments(
                output_dir=output,
                per_device_train_batch_size=CONTEXTS_PER_STEP,
                num_train_epochs=1,
                learning_rate=LEARNING_RATE,
                bf16=True,
                use_cpu=True,
                batch_sampler=InOrder,
                save_strategy="no",
                logging_steps=1,
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict(columns),
            loss=BothLosses(),
            callbacks=[Clock()],
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return result(ends, losses)


def by_bare_loop(model: str, rows: list[dict[str, Any]]) -> Result:
    """What one writes by hand: weights in bf16 autocast, all texts of a step padded to the longest."""
    import torch
    from sentence_transformers import SentenceTransformer

    from student.training.batches import step_batch
    from student.training.losses import distillation_loss

    torch.set_num_threads(THREADS)
    encoder = SentenceTransformer(model, device="cpu")
    encoder.max_seq_length = MAX_TOKENS
    encoder.train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=LEARNING_RATE)
    config = our_config(model, 1)
    ordered = in_our_order(rows)
    ends, losses = [], []
    num_steps = len(ordered) // CONTEXTS_PER_STEP
    for step in range(num_steps):
        batch = step_batch(ordered[step * CONTEXTS_PER_STEP : (step + 1) * CONTEXTS_PER_STEP], TURNS, 10)
        with torch.autocast("cpu", torch.bfloat16):
            texts = encoder.preprocess(batch.contexts), encoder.preprocess(batch.responses)
            contexts, responses = (encoder(features)["sentence_embedding"].float() for features in texts)
        loss = distillation_loss(contexts, responses, batch, config).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (num_steps - step) / num_steps
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        ends.append(time.perf_counter())
    return result(ends, losses)


def result(ends: list[float], losses: list[float]) -> Result:
    counted = ends[WARM_UP - 1 :]
    return {
        "contexts_per_s": (len(counted) - 1) * CONTEXTS_PER_STEP / (counted[-1] - counted[0]),
        "losses": losses,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def by_ours(model: str, rows: list[dict[str, Any]], workers: int) -> Result:
    """The whole training stage: Ray Data's rows, Ray Train's workers, DeepSpeed's steps."""
    import ray

    from jobs.execution.cluster import connect
    from student.training.loop import train_student
    from teachers.dataset import write_rows
    from teachers.records import EXAMPLES, TARGETS

    connect()
    peaks: dict[int, float] = {}
    finished = threading.Event()
    watcher = threading.Thread(target=watch_workers, args=(peaks, finished))
    watcher.start()
    with tempfile.TemporaryDirectory() as folder:
        write_rows(f"{folder}/targets", rows, TARGETS)
        write_rows(f"{folder}/examples", [], EXAMPLES)
        history = Path(folder) / "history.jsonl"
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        run = (f"{folder}/targets", f"{folder}/examples", f"{folder}/student", f"{folder}/train", "run")
        train_student(*run, our_config(model, workers), [keep_reports(history)])
        reports = [json.loads(line) for line in history.read_text().splitlines()]
    finished.set()
    watcher.join()
    ray.shutdown()
    counted = reports[WARM_UP // 2 :]
    return {
        "contexts_per_s": statistics.harmonic_mean([line["contexts_per_s"] for line in counted]),
        "data_share": statistics.mean(line["data_share"] for line in counted),
        "losses": [line["loss"] for line in reports],  # each the mean of two steps
        "peak_mib": sum(peaks.values()),
    }


def keep_reports(path: Path) -> Any:
    import ray.train

    class Reports(ray.train.UserCallback):
        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            with path.open("a") as file:
                file.write(json.dumps(metrics[0]) + "\n")

    return Reports()


def watch_workers(peaks: dict[int, float], finished: threading.Event) -> None:
    """Keeps the largest resident size of each training worker below this process, in MiB."""
    import psutil

    while not finished.wait(0.5):
        for process in psutil.Process().children(recursive=True):
            try:
                if "RayTrainWorker" in process.cmdline()[0]:
                    size = process.memory_info().rss / 2**20
                    peaks[process.pid] = max(size, peaks.get(process.pid, 0.0))
            except (psutil.Error, IndexError):
                continue


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
        texts = [context_text(row["context"], TURNS), *(found["text"] for found in row["candidates"])]
        for tokens in encoder.preprocess(texts)["attention_mask"].sum(dim=1).tolist():
            attention = 4 * config.num_hidden_layers * tokens**2 * config.hidden_size
            flop += 3 * (2 * layer_weights * tokens + attention)
    return {"flop_per_s": matrix_rate(), "flop_per_context": flop / len(rows)}


def show(way: str, found: Result) -> None:
    data = f", waiting for data {found['data_share']:.1%}" if "data_share" in found else ""
    pairs = found["contexts_per_s"] * CANDIDATES
    print(f"{way:32} {pairs:6.1f} pairs/s, peak {found['peak_mib']:5.0f} MiB{data}", flush=True)


def summarise(results: dict[str, list[Result]], machine: Result) -> None:
    """The medians, the share of the machine, the losses, and the ratios as JSON."""
    medians = {way: statistics.median(found["contexts_per_s"] for found in of) for way, of in results.items()}
    print(f"matrix products: {machine['flop_per_s'] / 1e9:.0f} GFLOP/s on {THREADS} threads, bfloat16")
    for way, rate in medians.items():
        share = rate * machine["flop_per_context"] / machine["flop_per_s"]
        first, last = mean_of_ends(results[way][0]["losses"], by_pairs="ours" in way)
        print(
            f"{way:32} {rate * CANDIDATES:6.1f} pairs/s, least work at {share:.0%} of the matrix rate, "
            f"loss {first:.4f} in the first two steps, {last:.4f} in the last ten"
        )
    theirs, ours, two = (
        medians[way] for way in ("sentence-transformers' trainer", "ours, 1 worker", "ours, 2 workers")
    )
    best_single = max(rate for way, rate in medians.items() if way != "ours, 2 workers")
    print(
        json.dumps(
            {
                "ratio_to_sentence_transformers": round(max(ours, two) / theirs, 3),
                "ratio_to_sentence_transformers_one_worker": round(ours / theirs, 3),
                "ratio_two_workers": round(two / best_single, 3),
                "data_share": round(
                    statistics.median(found["data_share"] for found in results["ours, 1 worker"]), 4
                ),
            }
        )
    )


def mean_of_ends(losses: list[float], by_pairs: bool) -> tuple[float, float]:
    """Mean loss of the first two and of the last ten steps."""
    size = 1 if by_pairs else 2
    return statistics.mean(losses[:size]), statistics.mean(losses[-5 * size :])


if __name__ == "__main__":
    main()
