"""What the processor computes in. Needs torch, which is imported when it is asked."""


def cpu_computes_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16; without them float32 is several times faster."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
