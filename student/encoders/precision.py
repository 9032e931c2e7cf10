"""Which numbers an encoder computes in."""

import torch

from student.config import Precision


def mixed_precision(device: torch.device, precision: Precision) -> torch.autocast:
    """Matrix products in bf16 while the body runs, where `precision` has it; the weights stay float32.

    The copies of the weights in bf16 are kept until the end of the body, with or without a graph as the
    first use had it: passes with and without gradients must not share a body.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=_computes_bf16(device.type, precision))


def _computes_bf16(device: str, precision: Precision) -> bool:
    """What the user says, or else whether the hardware does."""
    if precision != "auto":
        return precision == "bf16"
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
