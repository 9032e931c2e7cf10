"""Parity of a student's ONNX files with torch, and their latency. N texts, D dimensions."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SparseEncoder

from student.encoders.encoder import Encoder, Side, embed_texts, prompt_of
from student.export.onnx_encoder import FILES, OUTPUT, OnnxEncoder

TOLERANCE = 1e-4
"""Largest difference of a number in an fp32 vector; rounding accounts for about 1e-6 (dense) and 1e-5."""
_BATCH_SIZE = 16
_TIMED_TEXTS = 64


def compare(
    expected: NDArray[np.float32], actual: NDArray[np.float32], *, terms: bool = False
) -> dict[str, float]:
    """Return differences of `actual` [N, D] from `expected`; with `terms`, the overlap of active terms."""
    difference = np.abs(expected - actual)
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
    products = (expected * actual).sum(axis=1)

    # A text without active terms has the vector 0 and no cosine: the two agree where both have it.
    same = np.all(expected == actual, axis=1).astype(np.float32)
    cosines = np.divide(products, norms, out=same, where=norms > 0)

    figures = {
        "max_abs_difference": float(difference.max()),
        "mean_abs_difference": float(difference.mean()),
        "mean_cosine": float(cosines.mean()),
    }
    if terms:
        either = ((expected > 0) | (actual > 0)).sum(axis=1)
        both = ((expected > 0) & (actual > 0)).sum(axis=1)
        figures["mean_jaccard"] = float(np.where(either > 0, both / np.maximum(either, 1), 1.0).mean())
    return figures


def measure_side(
    encoder: Encoder, side: Side, folder: Path, part: str, texts: Sequence[str]
) -> dict[str, Any]:
    """Return one side's entry of the manifest.

    Raises:
        ValueError: the fp32 file's vectors differ from torch's.
    """
    prompt = prompt_of(encoder, side) or ""
    vectors = embed_texts(encoder, texts, side)
    expected = vectors if isinstance(vectors, np.ndarray) else vectors.toarray()
    entry: dict[str, Any] = {"prompt": prompt, "tokenizer": f"{part}tokenizer.json", "output": OUTPUT}

    for precision, name in FILES.items():
        exported = OnnxEncoder.load(folder / part / name, prompt)
        blocks = []
        for start in range(0, len(texts), _BATCH_SIZE):
            blocks.append(exported.embed(texts[start : start + _BATCH_SIZE]))
        figures = compare(expected, np.concatenate(blocks), terms=isinstance(encoder, SparseEncoder))

        difference = figures["max_abs_difference"]
        if precision == "fp32" and not difference <= TOLERANCE:  # NaN fails, too
            raise ValueError(
                f"{part}{name} differs by {difference:.2g} from torch on the {side} side, "
                f"more than {TOLERANCE:.0e}"
            )

        entry["inputs"] = exported.inputs
        entry[precision] = {
            "file": f"{part}{name}",
            "size_bytes": (folder / part / name).stat().st_size,
            **figures,
            "latency_ms": _latency_ms(exported.embed, texts),
        }

    entry["dimensions"] = expected.shape[1]
    entry["texts"] = len(texts)
    entry["torch_latency_ms"] = _torch_latency_ms(encoder, side, texts)
    return entry


def _latency_ms(embed: Callable[[list[str]], object], texts: Sequence[str]) -> float:
    """Return the median milliseconds from one text to its vector."""
    embed([texts[0]])  # the first call allocates

    seconds = []
    for text in texts[:_TIMED_TEXTS]:
        start = time.perf_counter()
        embed([text])
        seconds.append(time.perf_counter() - start)

    return 1000 * statistics.median(seconds)


def _torch_latency_ms(encoder: Encoder, side: Side, texts: Sequence[str]) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _latency_ms(lambda batch: embed_texts(encoder, batch, side), texts)
    finally:
        torch.set_num_threads(threads)
