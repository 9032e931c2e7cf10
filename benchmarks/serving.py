"""Serving: ours behind Ray Serve, the same handler behind bare uvicorn, the bare loop, a teacher that writes.

    python benchmarks/serving.py [--quick] [--encoder onnx]

The packaged encoder, 250,000 responses, real conversations, all in one run. Milliseconds at 1, 8 and 32
connections, and the highest rate at which 99 % are answered within 100 ms. The client and the servers share
the machine's cores. The last line is JSON.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pyarrow as pa
from load import closed_loop, open_loop, requests_of
from rich.console import Console
from rich.table import Table
from vectors import MAX_TOKENS, MODEL, TURNS, Conversation, embed, enlarge, real_replies

from serve.ingress import free_port

CONNECTIONS = (1, 8, 32)
REAL_REPLIES = 20_000
SLOWEST_MS = 100
TEACHER, TOKENS = "smollm2-135m-instruct", 32


def write_run(folder: Path, size: int) -> list[Conversation]:
    """A run with an index of `size` responses; conversations to ask it about."""
    from serve.config import IndexConfig
    from serve.index import write_version
    from student.encoder import EncoderSource
    from student.packaged import resolve_model
    from teachers.records import RESPONSE_SET

    replies, conversations = real_replies(REAL_REPLIES)
    vectors = enlarge(embed(replies, conversations)[0], size)
    rows = [
        {
            "response_id": f"{number:016x}",
            "text": replies[number % len(replies)],
            "source": "gold",
            "teacher": None,
        }
        for number in range(size)
    ]
    source = EncoderSource(resolve_model(MODEL), "dense", MAX_TOKENS)
    responses = pa.Table.from_pylist(rows, schema=RESPONSE_SET)
    write_version(responses, vectors, source, str(folder), IndexConfig(), TURNS)
    return conversations


def loop_ms(run: Path, conversations: list[Conversation], encoder: Any) -> float:
    """Median milliseconds of the responder alone, on one thread."""
    from serve.changes import Changes
    from serve.encoders import load_text_encoder
    from serve.index import load_index
    from serve.responder import Responder
    from serve.versions import current_version, local_version

    index = load_index(local_version(str(run), current_version(str(run))))
    responder = Responder(index, load_text_encoder(str(run), index, encoder, 1), Changes())
    milliseconds = []
    for conversation in conversations * 2:
        start = time.perf_counter()
        responder.respond(conversation, 5)
        milliseconds.append(1000 * (time.perf_counter() - start))
    return statistics.median(milliseconds[len(conversations) :])


def teacher_ms(conversations: list[Conversation]) -> float:
    """Median milliseconds in which a vLLM teacher writes TOKENS tokens, one conversation at a time."""
    os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_CPU_KVCACHE_SPACE="1")
    from vllm import LLM, SamplingParams

    from teachers.packaged import model_folder

    engine = LLM(str(model_folder(TEACHER)), max_model_len=1024, dtype="bfloat16")
    sampling = SamplingParams(max_tokens=TOKENS, min_tokens=TOKENS, temperature=1.0)
    milliseconds = []
    for conversation in conversations[:12]:
        start = time.perf_counter()
        engine.chat(conversation, sampling, use_tqdm=False)
        milliseconds.append(1000 * (time.perf_counter() - start))
    return statistics.median(milliseconds[2:])


@contextmanager
def server(command: list[str], port: int) -> Iterator[None]:
    """A server in processes of its own, once it answers."""
    process = subprocess.Popen([sys.executable, *command], start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 180
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} did not start")
            time.sleep(0.5)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/docs", timeout=5).close()
    except OSError:
        return False
    return True


def measure(port: int, requests: list[bytes], seconds: float) -> dict[str, float]:
    """Percentiles at each number of connections, requests a second, and the highest rate."""
    asyncio.run(closed_loop(port, requests, 8, seconds / 2))
    found: dict[str, float] = {}
    for connections in CONNECTIONS:
        milliseconds, statuses = asyncio.run(closed_loop(port, requests, connections, seconds))
        if set(statuses) != {200}:
            raise RuntimeError(f"answers other than 200: {statuses}")
        for share in (50, 95, 99):
            found[f"p{share} at {connections}"] = float(np.percentile(milliseconds, share))
        found[f"per s at {connections}"] = len(milliseconds) / seconds
    best, rate = 0.0, 0.5 * found["per s at 32"]
    while True:
        milliseconds, statuses = asyncio.run(open_loop(port, requests, rate, seconds))
        if set(statuses) != {200} or np.percentile(milliseconds, 99) > SLOWEST_MS:
            break
        best, rate = rate, 1.1 * rate
    found["highest rate"] = best
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="20,000 responses, shorter")
    parser.add_argument("--encoder", default="torch", choices=("torch", "onnx", "onnx-int8"))
    options = parser.parse_args()
    size, seconds, rounds = (20_000, 4.0, 1) if options.quick else (250_000, 8.0, 3)
    alone = multiprocessing.get_context("spawn")
    results: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="rejoinder-serving-") as scratch:
        run = Path(scratch) / "run"
        with alone.Pool(1) as pool:
            conversations = pool.apply(write_run, (run, size))
        with alone.Pool(1) as pool:
            loop = pool.apply(loop_ms, (run, conversations, options.encoder))
        with alone.Pool(1) as pool:
            teacher = pool.apply(teacher_ms, (conversations,))
        requests = requests_of(conversations)
        ways = {
            f"{name}, {count}": (command, count)
            for count in (1, 2)
            for name, command in (("uvicorn", "benchmarks/bare_server.py"), ("ours", "jobs/deploy.py"))
        }
        for _ in range(rounds):
            for way, (program, count) in ways.items():
                port = free_port()
                if way.startswith("ours"):
                    arguments = ["--run", str(run), "--port", str(port), "--replicas", str(count)]
                    arguments += ["--encoder", options.encoder]
                else:
                    arguments = [str(run), str(port), str(count), options.encoder]
                with server([program, *arguments], port):
                    results.setdefault(way, []).append(measure(port, requests, seconds))
                print(way, {name: round(value, 1) for name, value in results[way][-1].items()}, flush=True)
    medians = {
        way: {name: statistics.median(one[name] for one in found) for name in found[0]}
        for way, found in results.items()
    }
    table = Table("", *medians, title=f"{size:,} responses; the loop alone {loop:.2f} ms")
    for name in next(iter(medians.values())):
        table.add_row(name, *(f"{found[name]:.1f}" for found in medians.values()))
    Console().print(table)
    p50, rate = "p50 at 1", "per s at 32"
    ratios = {
        "p50_ratio_to_uvicorn": medians["ours, 1"][p50] / medians["uvicorn, 1"][p50],
        "throughput_ratio_to_uvicorn": medians["ours, 2"][rate] / medians["uvicorn, 2"][rate],
        "speedup_over_teacher": teacher / medians["ours, 1"][p50],
    }
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
