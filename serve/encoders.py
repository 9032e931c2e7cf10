"""The encoders of a replica, by torch or by ONNX Runtime: texts to tokens, tokens to vectors.

N texts, D dimensions (sparse: terms).
"""

import importlib.util
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from scipy.sparse import csr_matrix
from sentence_transformers import SparseEncoder

from serve.config import Backend
from serve.index import Index
from student.encoders.encoder import (
    Encoder,
    EncoderSource,
    Side,
    Vectors,
    load_encoder,
    tokens_of,
    vectors_of,
)
from teachers.storage import file_exists, local_folder, without_credentials


class TextEncoder(Protocol):
    """One encoder, in two steps that are timed separately."""

    def tokenise(self, texts: Sequence[str], side: Side) -> Mapping[str, Any]:
        """The tokens of one batch of texts."""

    def encode(self, tokens: Mapping[str, Any], side: Side) -> Vectors:
        """Their vectors [N, D]."""


class TorchEncoder:
    """An encoder by sentence-transformers, on the CPU: replicas reserve no GPU.

    In float32: for one text bf16 would convert all weights.
    """

    def __init__(self, source: EncoderSource) -> None:
        self._encoder: Encoder = load_encoder(source).eval()
        self._sparse = isinstance(self._encoder, SparseEncoder)

    def tokenise(self, texts: Sequence[str], side: Side) -> Mapping[str, Any]:
        """The tokens of one batch of texts."""
        return tokens_of(self._encoder, texts, side)

    def encode(self, tokens: Mapping[str, Any], side: Side) -> Vectors:
        """Their vectors [N, D]."""
        with torch.inference_mode():
            vectors = vectors_of(self._encoder, tokens, side).cpu().numpy()
        return csr_matrix(vectors) if self._sparse else vectors


class OnnxEncoder:
    """An encoder as `jobs/export.py` wrote it; the constructor reads its files into memory."""

    def __init__(self, export: str, precision: str, threads: int) -> None:
        from student.export import onnx_encoder

        self._encoders: dict[Side, onnx_encoder.OnnxEncoder] = {}
        with tempfile.TemporaryDirectory(prefix="rejoinder-onnx-") as scratch:
            folder = local_folder(export, Path(scratch))
            manifest = json.loads((folder / onnx_encoder.MANIFEST).read_text())
            self._sparse = manifest["kind"] == "sparse"

            for side, entry in manifest["encoders"].items():
                file = folder / entry[precision]["file"]
                self._encoders[side] = onnx_encoder.OnnxEncoder.load(file, entry["prompt"], threads)

    def tokenise(self, texts: Sequence[str], side: Side) -> Mapping[str, Any]:
        """The tokens of one batch of texts."""
        return self._encoders[side].tokenise(texts)

    def encode(self, tokens: Mapping[str, Any], side: Side) -> Vectors:
        """Their vectors [N, D]."""
        vectors = self._encoders[side].encode(dict(tokens))
        return csr_matrix(vectors) if self._sparse else vectors


class Encoders(NamedTuple):
    """What a responder encodes with."""

    student: TextEncoder
    reranker: TextEncoder | None
    """None where the index has none"""


def load_encoders(run: str, index: Index, backend: Backend, threads: int) -> Encoders:
    """Load the encoders of an index; `auto` takes ONNX Runtime for each that has an export.

    Raises:
        ValueError: ONNX Runtime is configured but not installed, or an encoder has no export.
    """
    metadata = index.metadata
    source = EncoderSource(index.student_folder, metadata["student_kind"], metadata["max_tokens"])
    student = _load(run, source, metadata["student_hash"], backend, threads)
    if "reranker" not in metadata:
        return Encoders(student, None)

    reranker = metadata["reranker"]
    source = EncoderSource(index.reranker_folder, "dense", reranker["max_tokens"])
    return Encoders(student, _load(run, source, reranker["hash"], backend, threads))


def _load(run: str, source: EncoderSource, weights: str, backend: Backend, threads: int) -> TextEncoder:
    export = _export(run, weights) if backend != "torch" else None
    if export is not None:
        return OnnxEncoder(export, "int8" if backend == "onnx-int8" else "fp32", threads)

    if backend in ("onnx", "onnx-int8"):
        raise ValueError(
            f"encoder: {without_credentials(run)} has no ONNX export of the {Path(source.model).name} "
            f"{weights} (run jobs/export.py), or onnxruntime is not installed"
        )

    torch.set_num_threads(threads)
    return TorchEncoder(source)


def _export(run: str, student: str) -> str | None:
    """The folder of a student's complete export; None without one or without ONNX Runtime."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    from student.export.onnx_encoder import MANIFEST

    folder = f"{run}/onnx/{student}"
    return folder if file_exists(f"{folder}/{MANIFEST}") else None
