"""The encoders: where they come from, and texts to vectors. N texts, D dimensions (sparse: terms).

Contexts are sentence-transformers' queries and responses its documents: a model with prompts or routes
for the two is used as its authors meant.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from student.config import Kind, Precision, StudentConfig
from student.encoders.precision import mixed_precision
from teachers.storage import local_folder

# Importing it takes half of what a job takes to start, so that the functions that compute do.
if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder

# Small enough for progress to be seen and for every actor to get some.
_TEXTS_PER_BLOCK = 512
Side = Literal["context", "response"]
TASKS: dict[Side, str] = {"context": "query", "response": "document"}
Encoder: TypeAlias = "SentenceTransformer | SparseEncoder"
Vectors: TypeAlias = NDArray[np.float32] | csr_matrix
"""[N, D], dense and of length one, or sparse."""

Tally = Callable[[int, int], None]
"""Is told how many texts are embedded, and of how many, while the work goes on."""


@dataclass(frozen=True)
class EncoderSource:
    """Where an encoder comes from, and how much of a text it reads."""

    model: str
    """A folder, a URI of one, or a cached Hugging Face id."""
    kind: Kind
    max_tokens: int
    precision: Precision = "auto"
    """Of the products where many texts are embedded, as in training."""

    @classmethod
    def from_config(cls, config: StudentConfig, model: str) -> "EncoderSource":
        """Return the student of the config at `model`, trained or untrained."""
        return cls(model, config.kind, config.max_tokens, config.precision)


def load_encoder(source: EncoderSource) -> Encoder:
    """The encoder, on the GPU where there is one.

    Raises:
        ValueError: the model cannot be an encoder of this kind.
    """
    from sentence_transformers import SentenceTransformer, SparseEncoder

    with tempfile.TemporaryDirectory(prefix="rejoinder-encoder-") as scratch:
        name = source.model
        folder = str(local_folder(name, Path(scratch))) if "://" in name else name
        is_saved_sparse = _model_type(folder) == "SparseEncoder"
        if source.kind == "dense" and is_saved_sparse:
            raise ValueError(f"{name} is a sparse encoder: set student.kind to sparse")
        if source.kind == "sparse" and _model_type(folder) == "SentenceTransformer":
            raise ValueError(f"{name} is a dense encoder: a sparse student needs a masked language model")
        encoder: Encoder = (SparseEncoder if source.kind == "sparse" else SentenceTransformer)(
            folder, local_files_only=True
        )
    encoder.max_seq_length = source.max_tokens
    return encoder


def _model_type(folder: str) -> str | None:
    """What sentence-transformers wrote of a folder it saved; None for any other model."""
    file = Path(folder) / "config_sentence_transformers.json"
    if file.is_file():
        model_type: str = json.loads(file.read_text()).get("model_type", "SentenceTransformer")
        return model_type
    return "SentenceTransformer" if (Path(folder) / "modules.json").is_file() else None


def prompt_of(encoder: Encoder, side: Side) -> str | None:
    """What the model's authors put before a context or a response, if anything."""
    names = ("query",) if side == "context" else ("document", "passage", "corpus")
    return next((encoder.prompts[name] for name in names if encoder.prompts.get(name)), None)


def embed_texts(encoder: Encoder, texts: Sequence[str], side: Side, batch_size: int = 64) -> Vectors:
    """The texts as vectors [N, D]: dense ones of length one, or sparse ones."""
    from sentence_transformers import SparseEncoder

    encode = encoder.encode_query if side == "context" else encoder.encode_document
    if isinstance(encoder, SparseEncoder):
        found = encode(list(texts), batch_size=batch_size, show_progress_bar=False).coalesce().cpu()
        values = found.values().float().numpy()
        return csr_matrix((values, found.indices().numpy()), shape=tuple(found.shape), dtype=np.float32)
    vectors = encode(
        list(texts),
        batch_size=batch_size,
        normalize_embeddings=True,
        show_progress_bar=False,
        convert_to_numpy=True,
    )
    return np.asarray(vectors, dtype=np.float32)


def inner_products(contexts: Vectors, responses: Vectors) -> NDArray[np.float32]:
    """Scores [C, N] of contexts [C, D] and responses [N, D] of one kind."""
    scores = contexts @ responses.T
    return scores.toarray() if isinstance(scores, csr_matrix) else np.asarray(scores)


class Embedder:
    """Ray Data actor: a block of one side's texts for one encoder in, its row numbers and the vectors out."""

    def __init__(self, sources: Sequence[EncoderSource]) -> None:
        self._sources = sources
        self._loaded: int | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        number = int(batch["encoder"][0])
        source = self._sources[number]
        if number != self._loaded:
            self._encoder = load_encoder(source)
            self._loaded = number
        with mixed_precision(self._encoder.device, source.precision):
            vectors = embed_texts(self._encoder, batch["text"].tolist(), batch["side"][0])
        # A cell for the whole block: Arrow has no column of sparse rows.
        block = {"rows": _cell(batch["row"]), "vectors": _cell(vectors)}
        return {"encoder": batch["encoder"][:1], "side": batch["side"][:1], **block}


def _cell(value: Any) -> NDArray[Any]:
    cell = np.empty(1, dtype=object)
    cell[0] = value
    return cell


def texts_to_vectors(
    texts: Mapping[Side, Sequence[str]], source: EncoderSource, tally: Tally
) -> dict[Side, Vectors]:
    """The vectors [N, D] of each side's texts, in their order; a repeat costs nothing.

    By Ray Data actors, of which one takes as long to start as hundreds of texts take it: so few are embedded
    by this process.
    """
    return texts_to_vectors_of_each(texts, [source], tally)[0]


def texts_to_vectors_of_each(
    texts: Mapping[Side, Sequence[str]], sources: Sequence[EncoderSource], tally: Tally
) -> list[dict[Side, Vectors]]:
    """What `texts_to_vectors` gives for each encoder, by the same actors."""
    distinct = {side: list(dict.fromkeys(found)) for side, found in texts.items()}
    blocks = [block for number in range(len(sources)) for block in _blocks(number, distinct)]
    done, total = 0, len(sources) * sum(map(len, distinct.values()))
    embedded = _embedded_here if total <= _TEXTS_PER_BLOCK else _embedded_by_actors
    placed = [{side: _Placed(len(distinct[side])) for side in texts} for _ in sources]
    for batch in embedded(blocks, sources):
        columns = (batch[name] for name in ("encoder", "side", "rows", "vectors"))
        for number, side, rows, vectors in zip(*columns, strict=True):
            placed[number][side].put(rows, vectors)
            done += len(rows)
        tally(done, total)
    return [{side: found[side].of(texts[side], distinct[side]) for side in texts} for found in placed]


def _embedded_here(blocks: Sequence[pa.Table], sources: Sequence[EncoderSource]) -> Iterator[dict[str, Any]]:
    """What `Embedder` makes of the blocks."""
    embedder = Embedder(sources)
    for block in blocks:
        yield embedder({name: block[name].to_numpy() for name in block.column_names})


def _embedded_by_actors(
    blocks: Sequence[pa.Table], sources: Sequence[EncoderSource]
) -> Iterator[dict[str, Any]]:
    """The same by Ray Data, in any order: it reads and writes with half of the CPUs."""
    half_of_cpus = max(1, int(ray.cluster_resources().get("CPU", 1)) // 2)
    num_actors = min(-(-sum(map(len, blocks)) // _TEXTS_PER_BLOCK), half_of_cpus)
    embedded = ray.data.from_arrow(list(blocks)).map_batches(
        Embedder,
        fn_constructor_args=(list(sources),),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=num_actors),
    )
    yield from embedded.iter_batches(batch_size=None)


def _blocks(number: int, texts: Mapping[Side, list[str]]) -> Iterator[pa.Table]:
    """The work of encoder `number`."""
    for side, found in texts.items():
        for start in range(0, len(found), _TEXTS_PER_BLOCK):
            block = found[start : start + _TEXTS_PER_BLOCK]
            rows = np.arange(start, start + len(block))
            same = {"side": [side] * len(block), "encoder": [number] * len(block)}
            yield pa.table({"text": block, "row": rows, **same})


class _Placed:
    """Vectors of distinct texts, each put in its place when it comes."""

    def __init__(self, num_texts: int) -> None:
        self._num_texts = num_texts
        self._dense: NDArray[np.float32] | None = None
        self._sparse: list[tuple[NDArray[np.int64], csr_matrix]] = []

    def put(self, rows: NDArray[np.int64], vectors: Vectors) -> None:
        if isinstance(vectors, csr_matrix):
            self._sparse.append((rows, vectors))
            return
        if self._dense is None:
            # In a file, which has no name any more: the system takes its memory back when others need it.
            with tempfile.TemporaryFile(prefix="rejoinder-vectors-") as file:
                self._dense = np.memmap(file, np.float32, "w+", shape=(self._num_texts, vectors.shape[1]))
        self._dense[rows] = vectors

    def of(self, texts: Sequence[str], distinct: list[str]) -> Vectors:
        """The vectors [N, D] of `texts`."""
        if self._dense is not None and len(texts) == len(distinct):
            return self._dense
        position = {text: number for number, text in enumerate(distinct)}
        places = [position[text] for text in texts]
        if self._dense is not None:
            return self._dense[places]
        rows, vectors = zip(*self._sparse, strict=True)
        return vstack(vectors, format="csr")[np.argsort(np.concatenate(rows))[places]]


def student_hash(folder: str) -> str:
    """16 hexadecimal digits that change with the weights or the configuration of a saved encoder."""
    digest = hashlib.sha256()
    for file in sorted(Path(folder).rglob("*")):
        if file.suffix in (".safetensors", ".bin", ".json", ".txt"):
            digest.update(str(file.relative_to(folder)).encode())
            with file.open("rb") as stream:
                hashlib.file_digest(stream, lambda: digest)  # updates the digest of all files
    return digest.hexdigest()[:16]


def has_routes(encoder: Encoder) -> bool:
    """Whether contexts and responses take different ways through the encoder."""
    from sentence_transformers.base.modules import Router

    return isinstance(encoder[0], Router)


def separate_encoders(encoder: Encoder) -> Encoder:
    """The same encoder twice behind sentence-transformers' Router: one for contexts, one for responses.

    One that has a route for each already is returned as it is.
    """
    from sentence_transformers.base.modules import Router

    if has_routes(encoder):
        return encoder
    query, document = ([deepcopy(module) for module in encoder.children()] for _ in range(2))
    router = Router.for_query_document(query_modules=query, document_modules=document)
    return type(encoder)(modules=[router], prompts=encoder.prompts, device=str(encoder.device))


def transformers_of(encoder: Encoder) -> dict[Side, Any]:
    """The transformers model of each side, which is the same if they share one."""
    if has_routes(encoder):
        return {side: encoder[0].sub_modules[task][0].model for side, task in TASKS.items()}
    return dict.fromkeys(TASKS, encoder[0].model)
