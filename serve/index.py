"""An index: the student and, row by row, the responses and their vectors. Written once, loaded, searched.

B queries, N responses, D dimensions. A version's folder has `student/`, `responses.arrow` (row i is vector
i), the vectors (see `serve.dense`, `serve.inverted`), the counts of the responses' words in `words.arrow`
where it has a confidence, and `index.json` with sizes and hashes of the files. Where the student's best
responses are re-ranked, it has that encoder in `reranker/` and its vectors in `reranker.npy`.
"""

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from serve.config import IndexConfig
from serve.dense import DenseIndex, choose_kind, read_dense, write_dense
from serve.inverted import InvertedIndex, invert, read_postings, write_postings
from serve.versions import METADATA_FILE, folder_of
from student.encoders.encoder import EncoderSource, Vectors, student_hash
from student.encoders.packaged import model_location
from student.evaluation.abstention import Confidence
from student.evaluation.word_model import WordModel
from teachers.storage import copy_folder, file_digest, local_folder

RESPONSES_FILE = "responses.arrow"
WORDS_FILE = "words.arrow"
STUDENT_FOLDER = "student"
RERANKER_FILE = "reranker.npy"
RERANKER_FOLDER = "reranker"


@dataclass(frozen=True)
class Index:
    """A loaded index."""

    folder: Path
    vectors: DenseIndex | InvertedIndex
    responses: pa.Table  # RESPONSE_SET
    metadata: dict[str, Any]
    words: WordModel | None
    """Of the responses; None where the index has no confidence"""
    reranker_vectors: NDArray[np.float16] | None
    """[N, R], mapped from their file; None without a re-ranker"""

    @property
    def version(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def confidence(self) -> Confidence | None:
        """How sure an answer is; None where that was not fitted."""
        return _confidence(self.metadata)

    @property
    def student_folder(self) -> str:
        """The student whose vectors these are."""
        return str(self.folder / STUDENT_FOLDER)

    @property
    def reranker_folder(self) -> str:
        """The encoder that re-ranks, where there is one."""
        return str(self.folder / RERANKER_FOLDER)


@dataclass(frozen=True)
class Reranker:
    """An encoder that ranks a student's best responses anew, beside the student."""

    source: EncoderSource
    vectors: Vectors
    """[N, R] of the responses, dense"""
    depth: int
    """How many of the student's best it ranks"""


@dataclass(frozen=True)
class IndexContent:
    """What a version of an index is made of, beside the student."""

    responses: pa.Table  # RESPONSE_SET
    vectors: Vectors
    """[N, D]"""
    confidence: Confidence | None = None
    words: WordModel | None = None
    """Of the responses, beside a confidence"""
    reranker: Reranker | None = None


def write_version(
    content: IndexContent, student: EncoderSource, run: str, config: IndexConfig, context_turns: int
) -> str:
    """Write a version; return its name.

    `context_turns` is the student's; the responder reads it and how to encode from `index.json`.
    """
    responses, vectors = content.responses, content.vectors
    with tempfile.TemporaryDirectory(prefix="rejoinder-index-") as scratch:
        folder = Path(scratch) / "built"
        folder.mkdir()

        _write_table(responses, folder / RESPONSES_FILE)
        if content.words is not None:
            counts = content.words.counts
            _write_table(pa.table({"word": [*counts], "count": [*counts.values()]}), folder / WORDS_FILE)
        kind = "inverted" if student.kind == "sparse" else choose_kind(config, len(responses))
        if kind == "inverted":
            write_postings(invert(vectors), folder)
        else:
            write_dense(vectors, kind, config, folder)
        if content.reranker is not None:
            np.save(folder / RERANKER_FILE, np.asarray(content.reranker.vectors, np.float16))

        source = local_folder(student.model, Path(scratch))
        metadata = {
            "metric": "inner_product",
            "dimensions": vectors.shape[1],
            "num_responses": len(responses),
            "student_kind": student.kind,
            "student_hash": student_hash(str(source)),
            "kind": kind,
            "context_turns": context_turns,
            "max_tokens": student.max_tokens,
            "files": {file.name: file_digest(file) for file in sorted(folder.iterdir())},
        }
        if content.confidence is not None:
            metadata["confidence"] = asdict(content.confidence)
        if content.reranker is not None:
            metadata["reranker"] = _write_reranker(content.reranker, folder / RERANKER_FOLDER)
        metadata_text = json.dumps(metadata, indent=2) + "\n"
        (folder / METADATA_FILE).write_text(metadata_text)

        copy_folder(source, folder / STUDENT_FOLDER)
        version = (
            f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{hashlib.sha256(metadata_text.encode()).hexdigest()[:8]}"
        )
        copy_folder(folder, folder_of(run, version), last=METADATA_FILE)
    return version


def load_index(folder: Path) -> Index:
    """Load the index of a version's local folder.

    Raises:
        ValueError: it is incomplete or damaged, or another student made its vectors: two students' vectors
            cannot be compared, and the answers would be noise.
    """
    if not (folder / METADATA_FILE).is_file():
        raise ValueError(f"{folder}: incomplete index, {METADATA_FILE} is missing")

    try:
        metadata = json.loads((folder / METADATA_FILE).read_text())
        files, expected = metadata["files"], metadata["student_hash"]
        _confidence(metadata)
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{folder}: {METADATA_FILE} is damaged or of another version of Rejoinder") from None

    for name, fingerprint in files.items():
        if not (folder / name).is_file() or file_digest(folder / name) != fingerprint:
            raise ValueError(f"{folder / name} is missing or damaged")

    encoders = {STUDENT_FOLDER: expected}
    if "reranker" in metadata:
        encoders[RERANKER_FOLDER] = metadata["reranker"]["hash"]
    for name, expected in encoders.items():
        actual = student_hash(str(folder / name))
        if actual != expected:
            raise ValueError(f"{folder}: its vectors are of the {name} {expected}, but {name}/ is {actual}")

    read = read_dense if metadata["student_kind"] == "dense" else read_postings
    return Index(
        folder=folder,
        vectors=read(folder),
        responses=_read_table(folder / RESPONSES_FILE),
        metadata=metadata,
        words=_read_words(folder / WORDS_FILE),
        reranker_vectors=np.load(folder / RERANKER_FILE, mmap_mode="r") if "reranker" in metadata else None,
    )


def _confidence(metadata: dict[str, Any]) -> Confidence | None:
    """Raises TypeError where another version wrote it."""
    fitted = metadata.get("confidence")
    return None if fitted is None else Confidence(**fitted)


def _write_reranker(reranker: Reranker, folder: Path) -> dict[str, Any]:
    """Copy the encoder; return what is to be known of it when the index is loaded."""
    with tempfile.TemporaryDirectory(prefix="rejoinder-index-") as scratch:
        copy_folder(local_folder(model_location(reranker.source.model), Path(scratch)), folder)
    max_tokens, dimensions = reranker.source.max_tokens, reranker.vectors.shape[1]
    hashed = student_hash(str(folder))
    return {"depth": reranker.depth, "hash": hashed, "dimensions": dimensions, "max_tokens": max_tokens}


def _write_table(table: pa.Table, file: Path) -> None:
    """Write the table uncompressed, so that it can be memory-mapped."""
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _read_table(file: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _read_words(file: Path) -> WordModel | None:
    if not file.is_file():
        return None
    table = _read_table(file)
    return WordModel(dict(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True)))
