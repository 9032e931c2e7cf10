"""Latency of a teacher: the time of one response, without any other load."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from teachers.config import GenerateConfig, Writer
from teachers.dataset import read_rows
from teachers.engines.protocol import Prompt, Teacher
from teachers.generation.sampling import SAMPLE_REQUESTS, sample_requests
from teachers.inference.store import Row
from teachers.inference.tasks import Task

TOKENS = 32
"""Tokens of every timed response, as short ones take less."""

Times = dict[str, float]
"""`p50_ms`, `p95_ms` and the number of `requests`"""

_TIMED = pa.schema(
    [
        ("key", pa.string()),
        ("latency_ms", pa.float64()),
        ("complete", pa.bool_()),  # it has all of TOKENS
        ("error", pa.string()),
    ]
)


def timing_work(contexts: list[Row], teacher: Writer, config: GenerateConfig) -> Iterator[Row]:
    """Return rows of work: one response to each of `contexts`, rows of EXAMPLES."""
    return sample_requests(contexts, teacher, config.model_copy(update={"samples": 1}))


def timing(config: GenerateConfig) -> Task:
    """Return the task of answering one conversation after the other."""
    limited = config.model_copy(update={"max_tokens": TOKENS})
    return Task(
        "answers", "answers", SAMPLE_REQUESTS, _TIMED, partial(_answer, config=limited), _rejected_rows
    )


def latencies_ms(uri: str) -> list[float]:
    """Return the milliseconds of the responses of `TOKENS` tokens, without the first, which warms up."""
    latencies: list[float] = []
    for row in read_rows(uri)[1:]:
        if row["error"] is None and row["complete"]:
            latencies.append(row["latency_ms"])
    return latencies


def response_times(latencies: list[float]) -> Times | None:
    """Return the times of latencies in milliseconds; None where there is none."""
    if not latencies:
        return None
    p50, p95 = np.percentile(latencies, [50, 95])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "requests": len(latencies)}


def _answer(teacher: Teacher, rows: list[Row], config: GenerateConfig) -> list[Row]:
    timed = []
    for row in rows:
        prompt = Prompt(row["context"], row["system_prompt"], row["seed"], min_tokens=TOKENS)
        begin = time.perf_counter()
        [generation] = teacher.generate([prompt], config)
        milliseconds = 1000 * (time.perf_counter() - begin)
        timed.append(_row(row["key"], milliseconds, generation.truncated, generation.error))
    return timed


def _rejected_rows(row: Row, error: str) -> list[Row]:
    return [_row(row["key"], None, None, error)]


def _row(key: str, latency_ms: float | None, complete: bool | None, error: str | None) -> dict[str, Any]:
    return {"key": key, "latency_ms": latency_ms, "complete": complete, "error": error}
