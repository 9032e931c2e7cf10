"""What the machine can do, for the benchmarks to be measured against."""

import time

import torch


def matrix_rate() -> float:
    """Floating-point operations per second of a large bfloat16 matrix product, the best of several."""
    size = 2048
    one, other = torch.randn(size, size).bfloat16(), torch.randn(size, size).bfloat16()
    best = 0.0
    for _ in range(20):
        start = time.perf_counter()
        one @ other
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best
