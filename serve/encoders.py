"""The student in a replica, by torch or by ONNX Runtime: texts to tokens, tokens to vectors.

N texts, D dimensions (sparse: terms).
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from scipy.sparse import csr_matrix
from sentence_transformers import SparseEncoder

from serve.config import Backend
from serve.index import Index
from student.encoder import TASKS, Encoder, EncoderSource, Side, Vectors, load_encoder, prompt_of
from student.precision import mixed_precision
from teachers.records import local_folder, open_uri


class TextEncoder(Protocol):
    """One student, in two steps that are timed apart."""

    def tokenise(self, texts: Sequence[str], side: Side) -> Mapping[str, Any]:
        """The tokens of one batch of texts."""

    def encode(self, tokens: Mapping[str, Any], side: Side) -> Vectors:
        """Their vectors [N, D]."""


class TorchEncoder:
    """The student as it was trained."""

    def __init__(self, source: EncoderSource) -> None:
        self._encoder: Encoder = load_encoder(source).eval()
        self._precision = source.precision
        self._sparse = isinstance(self._encoder, SparseEncoder)

    def tokenise(self, texts: Sequence[str], side: Side) -> Mapping[str, Any]:
        """The tokens of one batch of texts."""
        encoder = self._encoder
        tokens: Mapping[str, Any] = encoder.preprocess(
            list(texts), prompt=prompt_of(encoder, side), task=TASKS[side]
        )
        return tokens

    def encode(self, tokens: Mapping[str, Any], side: Side) -> Vectors:
        """Their vectors [N, D], in the precision of those of the index."""
        device = self._encoder.device
        features = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in tokens.items()
        }
        with torch.inference_mode(), mixed_precision(device, self._precision):
            vectors = self._encoder(features, task=TASKS[side])["sentence_embedding"].float()
        if self._sparse:
            return csr_matrix(vectors.cpu().numpy())
        return torch.nn.functional.normalize(vectors, dim=1).cpu().numpy()


class OnnxEncoder:
    """The student as `jobs/export.py` wrote it; its files are in memory once it is made.

    Raises:
        ValueError: the run has no export of this index's student.
    """

    def __init__(self, run: str, index: Index, precision: str, threads: int) -> None:
        from student import onnx_encoder

        student = index.metadata["student_hash"]
        filesystem, path = open_uri(f"{run}/onnx/{student}/{onnx_encoder.MANIFEST}")
        if filesystem.get_file_info(path).type.name != "File":
            raise ValueError(
                f"encoder: {run} has no ONNX export of the student {student}: run jobs/export.py"
            )
        with tempfile.TemporaryDirectory(prefix="rejoinder-onnx-") as scratch:
            folder = local_folder(f"{run}/onnx/{student}", Path(scratch))
            manifest = json.loads((folder / onnx_encoder.MANIFEST).read_text())
            self._sparse = manifest["kind"] == "sparse"
            self._encoders: dict[Side, onnx_encoder.OnnxEncoder] = {
                side: onnx_encoder.OnnxEncoder.load(
                    folder / entry[precision]["file"], entry["prompt"], threads
                )
                for side, entry in manifest["encoders"].items()
            }

    def tokenise(self, texts: Sequence[str], side: Side) -> Mapping[str, Any]:
        """The tokens of one batch of texts."""
        return self._encoders[side].tokenise(texts)

    def encode(self, tokens: Mapping[str, Any], side: Side) -> Vectors:
        """Their vectors [N, D]."""
        vectors = self._encoders[side].encode(dict(tokens))
        return csr_matrix(vectors) if self._sparse else vectors


def load_text_encoder(run: str, index: Index, backend: Backend, threads: int) -> TextEncoder:
    """The student of an index.

    Raises:
        ValueError: see `OnnxEncoder`.
    """
    if backend != "torch":
        return OnnxEncoder(run, index, {"onnx": "fp32", "onnx-int8": "int8"}[backend], threads)
    torch.set_num_threads(threads)
    metadata = index.metadata
    return TorchEncoder(
        EncoderSource(
            index.student_folder, metadata["student_kind"], metadata["max_tokens"], metadata["precision"]
        )
    )
