"""Numeric precision of encoders."""

import torch

from student.config import Precision
from teachers.hardware import cpu_computes_bfloat16


def mixed_precision(device: torch.device, precision: Precision) -> torch.autocast:
    """Compute matrix products in bf16 while the body runs, if `precision` allows; weights stay float32.

    Autocast caches bf16 copies of the weights until the body ends, with a graph only if their first use
    had one. So passes with and without gradients must not share a body.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=_computes_bf16(device.type, precision))


def _computes_bf16(device: str, precision: Precision) -> bool:
    """Return the user's choice, or else whether the hardware computes in bf16."""
    if precision != "auto":
        return precision == "bf16"
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return cpu_computes_bfloat16()
