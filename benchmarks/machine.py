"""The machine's limits, to which benchmarks compare their rates."""

import time
from collections.abc import Callable
from typing import Any

import torch


def matrix_rate(size: int = 2048, dtype: torch.dtype = torch.bfloat16) -> float:
    """Floating-point operations per second of a large matrix product, the best of several."""
    one, other = (torch.randn(size, size, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(timed(lambda: one @ other) for _ in range(20))


def copy_rate(size: int = 2**30) -> float:
    """Bytes per second read and written by a copy of a buffer, the best of several."""
    source = torch.zeros(size, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * size / min(timed(lambda: target.copy_(source)) for _ in range(10))


def timed(work: Callable[[], Any]) -> float:
    """Seconds of the work; on a GPU until its kernels end."""
    begin = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin
