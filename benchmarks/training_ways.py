"""The ways of training that benchmarks/training.py compares, with their model and rows.

Functions import heavy libraries: each way runs in a separate process, after its environment is set.
"""

import json
import math
import random
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

CONTEXTS_PER_STEP = 32
CANDIDATES = 4
THREADS = 2
MAX_TOKENS = 64
TURNS = 2
SCALE = 20.0
LEARNING_RATE = 2e-5
# Steps at the beginning that are not counted: kernels are chosen, memory is allocated.
WARM_UP = 4
ALPHA = 0.1

Result = dict[str, Any]


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
    """TARGETS of real contexts, each with its response and three of others, with random target_probs."""
    from teachers.corpora.conversations import CHITCHAT, clean, read

    generator = random.Random(0)
    pairs: dict[str, list[dict[str, str]]] = {}
    for _, row in read(CHITCHAT):
        messages = clean(row, 400).messages
        for end in range(2, len(messages), 2):
            # Each response once, so that every way has the same negatives.
            pairs.setdefault(messages[end]["content"].casefold(), messages[max(0, end - TURNS) : end + 1])

    chosen = generator.sample(list(pairs.values()), count * CANDIDATES)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        gold, *others = chosen[number * CANDIDATES : (number + 1) * CANDIDATES]
        candidates = [{"text": gold[-1]["content"], "source": "gold", "teacher": None}]
        for other in others:
            candidates.append({"text": other[-1]["content"], "source": "random", "teacher": None})

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
    """The rows in the order of our batches."""
    from student.text import context_text
    from student.training.batches import epoch_batches

    by_text = {context_text(row["context"], TURNS): row for row in rows}

    def windows(size: int) -> list[list[dict[str, Any]]]:
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    batches = epoch_batches(windows, 0, 0, our_config("", 1))
    return [by_text[context] for batch in batches for context in batch.contexts]


def by_bare_loop(model: str, rows: list[dict[str, Any]]) -> Result:
    """Train by a hand-written loop: bf16 autocast, all texts of a step padded to the longest."""
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
    num_steps = len(ordered) // CONTEXTS_PER_STEP

    ends, losses = [], []
    for step in range(num_steps):
        batch = step_batch(ordered[step * CONTEXTS_PER_STEP : (step + 1) * CONTEXTS_PER_STEP], config)
        with torch.autocast("cpu", torch.bfloat16):
            contexts = encoder(encoder.preprocess(batch.contexts))["sentence_embedding"].float()
            responses = encoder(encoder.preprocess(batch.responses))["sentence_embedding"].float()

        loss = distillation_loss(contexts, responses, batch, config).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (num_steps - step) / num_steps
        optimizer.step()
        optimizer.zero_grad()

        losses.append(loss.item())
        ends.append(time.perf_counter())
    return summary(ends, losses)


def summary(ends: list[float], losses: list[float]) -> Result:
    counted = ends[WARM_UP - 1 :]
    return {
        "contexts_per_s": (len(counted) - 1) * CONTEXTS_PER_STEP / (counted[-1] - counted[0]),
        "losses": losses,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def by_ours(model: str, rows: list[dict[str, Any]], workers: int) -> Result:
    """Train by the whole training stage: Ray Data's rows, Ray Train's workers, DeepSpeed's steps."""
    import ray

    from jobs.execution.cluster import connect
    from student.training.loop import train_student
    from student.training.ray_trainer import TrainingLocation
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
        train_student(
            f"{folder}/targets",
            f"{folder}/examples",
            TrainingLocation(f"{folder}/student", f"{folder}/train", "run"),
            our_config(model, workers),
            [keep_reports(history)],
        )
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
    """Keep the largest resident size of each training worker below this process, in MiB."""
    import psutil

    while not finished.wait(0.5):
        for process in psutil.Process().children(recursive=True):
            try:
                if "RayTrainWorker" in process.cmdline()[0]:
                    size = process.memory_info().rss / 2**20
                    peaks[process.pid] = max(size, peaks.get(process.pid, 0.0))
            except (psutil.Error, IndexError):
                continue
