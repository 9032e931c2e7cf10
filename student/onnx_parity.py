"""How far a student's ONNX files are from torch, and how fast they are. N texts, D dimensions."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from sentence_transformers import SparseEncoder
from tokenizers import Tokenizer

from student.encoder import Encoder, Side, embed_texts, prompt_of

FILES = {"fp32": "model.onnx", "int8": "model_int8.onnx"}
OUTPUT = "vector"
TOLERANCE = 1e-4
_BATCH_SIZE = 16
_TIMED_TEXTS = 64


@dataclass
class OnnxEncoder:
    """Texts to vectors by ONNX Runtime and tokenizers alone, on one thread."""

    session: onnxruntime.InferenceSession
    tokenizer: Tokenizer
    """Truncates and pads."""
    prompt: str

    @classmethod
    def load(cls, file: Path, prompt: str = "") -> Self:
        """The encoder of an ONNX file, with the tokenizer beside it.

        Raises:
            ValueError: the graph takes texts of one number or length only.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        for graph_input in session.get_inputs():
            if not all(isinstance(size, str) for size in graph_input.shape):
                raise ValueError(f"{file}: {graph_input.name} has the fixed shape {graph_input.shape}")
        return cls(session, Tokenizer.from_file(str(file.with_name("tokenizer.json"))), prompt)

    @property
    def inputs(self) -> list[str]:
        return [graph_input.name for graph_input in self.session.get_inputs()]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors [N, D] of the texts, which are one batch."""
        encodings = self.tokenizer.encode_batch([self.prompt + text for text in texts])
        columns = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        feed = {name: np.array(columns[name], dtype=np.int64) for name in self.inputs}
        vectors: NDArray[np.float32] = self.session.run([OUTPUT], feed)[0]
        return vectors


def compare(
    expected: NDArray[np.float32], found: NDArray[np.float32], *, terms: bool = False
) -> dict[str, float]:
    """How far `found` [N, D] is from `expected` [N, D]; with `terms`, how far active terms overlap."""
    difference = np.abs(expected - found)
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    products = (expected * found).sum(axis=1)
    # A text without active terms has the vector 0, of which there is no cosine: right where both have it.
    same = np.all(expected == found, axis=1).astype(np.float32)
    cosines = np.divide(products, norms, out=same, where=norms > 0)
    figures = {
        "max_abs_difference": float(difference.max()),
        "mean_abs_difference": float(difference.mean()),
        "mean_cosine": float(cosines.mean()),
    }
    if terms:
        either = ((expected > 0) | (found > 0)).sum(axis=1)
        both = ((expected > 0) & (found > 0)).sum(axis=1)
        figures["mean_jaccard"] = float(np.where(either > 0, both / np.maximum(either, 1), 1.0).mean())
    return figures


def measure_side(
    encoder: Encoder, side: Side, folder: Path, part: str, texts: Sequence[str]
) -> dict[str, Any]:
    """One side's entry of the manifest.

    Raises:
        ValueError: the fp32 file does not compute what torch does.
    """
    prompt = prompt_of(encoder, side) or ""
    vectors = embed_texts(encoder, texts, side)
    expected = vectors if isinstance(vectors, np.ndarray) else vectors.toarray()
    entry: dict[str, Any] = {"prompt": prompt, "tokenizer": f"{part}tokenizer.json", "output": OUTPUT}
    for precision, name in FILES.items():
        exported = OnnxEncoder.load(folder / part / name, prompt)
        batches = [texts[start : start + _BATCH_SIZE] for start in range(0, len(texts), _BATCH_SIZE)]
        found = np.concatenate([exported.embed(batch) for batch in batches])
        figures = compare(expected, found, terms=isinstance(encoder, SparseEncoder))
        difference = figures["max_abs_difference"]
        if precision == "fp32" and not difference <= TOLERANCE:  # nor where it is no number
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
    """Median milliseconds from one text to its vector."""
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
