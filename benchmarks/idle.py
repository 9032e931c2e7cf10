"""How long an engine waits for a bucket: a batch at a time, or eight.

The bucket is on loopback and answers each request 25 ms later than it could. In place of an engine a task
takes 100 ms for a batch of 64 pairs, to stand for a large GPU; none is needed.

python benchmarks/idle.py [--quick]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import ray

import teachers.storage
from teachers.config import EndpointTeacher
from teachers.engines.protocol import Teacher
from teachers.inference.attempts import start_ledger
from teachers.inference.store import Row
from teachers.inference.tasks import Task, TeacherWork
from teachers.inference.work_files import work_files, write_work
from teachers.inference.worker import Worker
from teachers.records import PAIR_SCORES
from tests.http_server import chat_completion, json_server
from tests.s3_server import faulty_bucket

LATENCY_S, ENGINE_S, BATCH, BATCHES_IN_A_BLOCK = 0.025, 0.1, 64, 8
REQUESTS = pa.schema([("key", pa.string())])


def compute(teacher: Teacher, rows: list[Row]) -> list[Row]:
    """As long as an engine takes."""
    time.sleep(ENGINE_S)
    return [{**dict.fromkeys(PAIR_SCORES.names), "key": row["key"], "similarity": 0.0} for row in rows]


def in_sequence(worker: Worker, uri: str) -> None:
    for file in work_files(uri):
        list(worker(pa.table({"file": [file]})))


def overlapped(worker: Worker, uri: str) -> None:
    files = work_files(uri)
    for start in range(0, len(files), BATCHES_IN_A_BLOCK):
        list(worker(pa.table({"file": files[start : start + BATCHES_IN_A_BLOCK]})))


def idle_share(
    way: Callable[[Worker, str], None], config: EndpointTeacher, num_batches: int, name: str
) -> float:
    """Share of the time in which the engine computes nothing."""
    batches = [[{"key": f"{number} {row}"} for row in range(BATCH)] for number in range(num_batches)]
    work_uri = f"s3://runs/{name}/work"
    write_work(work_uri, [row for rows in batches for row in rows], REQUESTS, BATCH)
    task = Task("computes", "rows", REQUESTS, PAIR_SCORES, compute, lambda row, error: [])
    work = TeacherWork("engine", config, task, BATCH, f"s3://runs/{name}/store", f"s3://runs/{name}/notes")
    worker = Worker(work, start_ledger())

    start = time.perf_counter()
    way(worker, work_uri)
    return 1 - num_batches * ENGINE_S / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a third of the rounds")
    rounds = 1 if parser.parse_args().quick else 3

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    shares: dict[str, list[float]] = {"in_sequence": [], "overlapped": []}
    with faulty_bucket() as bucket, json_server(lambda request: (200, chat_completion("fine"))) as url:
        filesystem, _ = teachers.storage.open_uri(bucket.at(""))
        teachers.storage._s3 = lambda _: filesystem  # type: ignore[assignment]
        config = EndpointTeacher(kind="endpoint", base_url=f"{url}/v1", model="tiny", num_cpus=1)
        bucket.delay_s = LATENCY_S
        for number in range(rounds):
            for way in (in_sequence, overlapped):
                share = idle_share(way, config, 40, f"{way.__name__}-{number}")
                shares[way.__name__].append(share)
                print(f"{way.__name__}: idle {share:.2f} of the time")

    medians: dict[str, Any] = {name: round(statistics.median(values), 3) for name, values in shares.items()}
    print(json.dumps({f"idle_share_{name}": value for name, value in medians.items()}))


if __name__ == "__main__":
    main()
