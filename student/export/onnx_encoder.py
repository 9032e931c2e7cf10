"""An exported student that embeds texts without torch. N texts, D dimensions (sparse: terms)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

FILES = {"fp32": "model.onnx", "int8": "model_int8.onnx"}
MANIFEST = "onnx.json"
OUTPUT = "vector"
Features = dict[str, NDArray[np.int64]]


@dataclass
class OnnxEncoder:
    """One side's encoder, by ONNX Runtime and tokenizers alone."""

    session: onnxruntime.InferenceSession
    tokenizer: Tokenizer
    """Truncates and pads."""
    prompt: str

    @classmethod
    def load(cls, file: Path, prompt: str = "", threads: int = 1) -> Self:
        """Load the encoder of an ONNX file, with the tokenizer beside it.

        Raises:
            ValueError: the graph has a fixed batch size or length.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

        for graph_input in session.get_inputs():
            if not all(isinstance(size, str) for size in graph_input.shape):
                raise ValueError(f"{file}: {graph_input.name} has the fixed shape {graph_input.shape}")

        return cls(session, Tokenizer.from_file(str(file.with_name("tokenizer.json"))), prompt)

    @property
    def inputs(self) -> list[str]:
        """Names of the graph's inputs."""
        return [graph_input.name for graph_input in self.session.get_inputs()]

    def tokenise(self, texts: Sequence[str]) -> Features:
        """Return each input of the graph [N, tokens], for texts that are one batch."""
        encodings = self.tokenizer.encode_batch([self.prompt + text for text in texts])
        columns: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "token_type_ids": []}
        for encoding in encodings:
            columns["input_ids"].append(encoding.ids)
            columns["attention_mask"].append(encoding.attention_mask)
            columns["token_type_ids"].append(encoding.type_ids)

        return {name: np.array(columns[name], dtype=np.int64) for name in self.inputs}

    def encode(self, features: Features) -> NDArray[np.float32]:
        """Return the vectors [N, D] of tokenised texts."""
        vectors: NDArray[np.float32] = self.session.run([OUTPUT], features)[0]
        return vectors

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors [N, D] of texts that are one batch."""
        return self.encode(self.tokenise(texts))
