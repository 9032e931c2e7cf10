"""Encoders: their sources, and texts to vectors. N texts, D dimensions (sparse: terms).

Contexts are sentence-transformers' queries and responses its documents: a model with prompts or routes
for the two is used as its authors meant.
"""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from student.config import Kind, Precision, StudentConfig
from student.encoders.packaged import check_kind, model_location
from teachers.model_folders import Task, inspect_model, limit_tokens, side_prompts
from teachers.storage import local_folder

# Importing it takes half of a job's start-up time, so only the functions that compute import it.
if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder

Side = Literal["context", "response"]
TASKS: dict[Side, Task] = {"context": "query", "response": "document"}
Encoder: TypeAlias = "SentenceTransformer | SparseEncoder"
Vectors: TypeAlias = NDArray[np.float32] | csr_matrix
"""[N, D], dense and of length one, or sparse."""


@dataclass(frozen=True)
class EncoderSource:
    """Model, kind and input length of an encoder."""

    model: str
    """A folder, a URI of one, or a cached Hugging Face id."""
    kind: Kind
    max_tokens: int
    precision: Precision = "auto"
    """Precision of matrix products where many texts are embedded, as in training."""
    use_gpu: bool = False
    """Whether texts are embedded on GPUs, each by a process that has reserved one."""
    store: str | None = None
    """A folder or URI where the vectors of a dense encoder are kept, and taken from (`StoredVectors`)."""

    @classmethod
    def from_config(cls, config: StudentConfig, model: str, store: str | None = None) -> "EncoderSource":
        """Return the student of the config at `model`, trained or untrained."""
        return cls(model, config.kind, config.max_tokens, config.precision, config.use_gpu, store)


def load_encoder(source: EncoderSource) -> Encoder:
    """Return the encoder, on the GPU if the source uses one, else on the CPU.

    It reads at most as many tokens as it has positions. Its prompts for `query` and `document` are those that
    every vector is made with, so a student that is saved has them under the names that the library looks for.

    Raises:
        ValueError: the model cannot be an encoder of this kind.
    """
    from sentence_transformers import SentenceTransformer, SparseEncoder

    with tempfile.TemporaryDirectory(prefix="rejoinder-encoder-") as scratch:
        location = model_location(source.model)
        folder = str(local_folder(location, Path(scratch))) if "://" in location else location
        model = inspect_model(folder)
        check_kind(source.model, model, source.kind)

        encoder_class = SparseEncoder if source.kind == "sparse" else SentenceTransformer
        # By itself it would take a GPU that it sees: Ray hides none from processes that have reserved none.
        device = "cuda" if source.use_gpu else "cpu"
        encoder: Encoder = encoder_class(folder, device=device, local_files_only=True)

    limit_tokens(encoder, source.max_tokens, model.positions)
    encoder.prompts = {**encoder.prompts, **side_prompts(encoder.prompts, encoder.default_prompt_name)}
    return encoder


def prompt_of(encoder: Encoder, side: Side) -> str | None:
    """Return the prompt that the model's authors put before a context or a response, if any."""
    return side_prompts(encoder.prompts, encoder.default_prompt_name)[TASKS[side]] or None


def tokens_of(encoder: Encoder, texts: Sequence[str], side: Side) -> dict[str, Any]:
    """Return the encoder's inputs for one batch of texts, with the side's prompt, on its device."""
    features = encoder.preprocess(list(texts), prompt=prompt_of(encoder, side), task=TASKS[side])
    on_device: dict[str, Any] = {}
    for name, value in features.items():
        on_device[name] = value.to(encoder.device) if isinstance(value, torch.Tensor) else value
    return on_device


def vectors_of(encoder: Encoder, tokens: Mapping[str, Any], side: Side) -> torch.Tensor:
    """Return the vectors [N, D] of one batch's tokens; every room makes its vectors by this function."""
    return final_vectors(encoder, encoder(dict(tokens), task=TASKS[side])["sentence_embedding"])


def final_vectors(encoder: Encoder, embeddings: torch.Tensor) -> torch.Tensor:
    """Return embeddings [N, D'] of the last module as vectors [N, D] in float32.

    bf16 would round cosines to 3 digits. Dense ones have the model's `truncate_dim` dimensions and are of
    length one; sparse ones have at most its `max_active_dims` terms.
    """
    from sentence_transformers import SparseEncoder
    from sentence_transformers.util import select_max_active_dims, truncate_embeddings

    if isinstance(encoder, SparseEncoder):
        return select_max_active_dims(embeddings.float(), encoder.max_active_dims)
    return torch.nn.functional.normalize(truncate_embeddings(embeddings.float(), encoder.truncate_dim), dim=1)


@torch.inference_mode()
def embed_texts(encoder: Encoder, texts: Sequence[str], side: Side, batch_size: int = 64) -> Vectors:
    """Return the vectors [N, D] of at least one text: dense ones of length one, or sparse ones."""
    from sentence_transformers import SparseEncoder

    encoder.eval()
    by_length = np.argsort([-len(text) for text in texts])  # little padding
    blocks: list[NDArray[np.float32]] = []
    for start in range(0, len(texts), batch_size):
        batch = [texts[row] for row in by_length[start : start + batch_size]]
        vectors = vectors_of(encoder, tokens_of(encoder, batch, side), side).cpu().numpy()
        blocks.append(csr_matrix(vectors) if isinstance(encoder, SparseEncoder) else vectors)

    joined = vstack(blocks, format="csr") if isinstance(encoder, SparseEncoder) else np.concatenate(blocks)
    return joined[np.argsort(by_length)]


def inner_products(contexts: Vectors, responses: Vectors) -> NDArray[np.float32]:
    """Return the scores [C, N] of contexts [C, D] and responses [N, D] of one kind."""
    scores = contexts @ responses.T
    return scores.toarray() if isinstance(scores, csr_matrix) else np.asarray(scores)


def student_hash(folder: str) -> str:
    """Return 16 hexadecimal digits that change with a saved encoder's weights or configuration."""
    digest = hashlib.sha256()
    for file in sorted(Path(folder).rglob("*")):
        if file.suffix in (".safetensors", ".bin", ".json", ".txt"):
            digest.update(str(file.relative_to(folder)).encode())
            with file.open("rb") as stream:
                hashlib.file_digest(stream, lambda: digest)  # updates the digest of all files
    return digest.hexdigest()[:16]


def has_routes(encoder: Encoder) -> bool:
    """Return whether contexts and responses have separate routes through the encoder."""
    from sentence_transformers.base.modules import Router

    return isinstance(encoder[0], Router)


def separate_encoders(encoder: Encoder) -> Encoder:
    """Copy the encoder behind sentence-transformers' Router: one copy for contexts, one for responses.

    An encoder with routes for both is returned unchanged.
    """
    from sentence_transformers.base.modules import Router

    if has_routes(encoder):
        return encoder

    query = [deepcopy(module) for module in encoder.children()]
    document = [deepcopy(module) for module in encoder.children()]
    router = Router.for_query_document(query_modules=query, document_modules=document)
    separate = type(encoder)(modules=[router], prompts=encoder.prompts, device=str(encoder.device))
    for setting in ("default_prompt_name", "truncate_dim", "max_active_dims"):
        if hasattr(encoder, setting):
            setattr(separate, setting, getattr(encoder, setting))
    return separate


def transformers_of(encoder: Encoder) -> dict[Side, Any]:
    """Return the transformers model of each side; a shared encoder has one model for both."""
    if has_routes(encoder):
        return {side: encoder[0].sub_modules[task][0].model for side, task in TASKS.items()}
    return dict.fromkeys(TASKS, encoder[0].model)
