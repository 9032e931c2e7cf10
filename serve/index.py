"""The response set and its index: made from TARGETS, written, loaded and searched.

B queries, N responses, D dimensions. An index is three files of one folder: `responses.parquet`
(row i is vector i), `index.faiss` of a dense or `postings.npz` of a sparse student, and `index.json`,
which is written last and completes it.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

from serve.config import IndexConfig
from serve.folders import publish_folder
from serve.inverted import Rows, Scores, invert, read_postings, write_postings
from student.config import Kind
from student.encoder import EncoderSource, Tally, Vectors, student_hash, texts_to_vectors
from teachers.records import RESPONSE_SET, local_folder, open_uri

METADATA_FILE = "index.json"
VECTORS_FILES: dict[Kind, str] = {"dense": "index.faiss", "sparse": "postings.npz"}
RESPONSES_FILE = "responses.parquet"


@dataclass(frozen=True)
class Index:
    """A loaded index: the vectors and, aligned with them, the responses."""

    vectors: Any  # a faiss.Index or an InvertedIndex, which are searched alike
    responses: pa.Table  # RESPONSE_SET
    metadata: dict[str, Any]

    def search(self, queries: Vectors, top_k: int) -> tuple[Scores, Rows]:
        """Inner products [B, k] and rows of `responses` [B, k], best first; k is at most N.

        `hnsw` marks a place that it could not fill with the row -1.
        """
        return self.vectors.search(queries, min(top_k, len(self.responses)))  # type: ignore[no-any-return]


def response_set(targets_uri: str) -> pa.Table:
    """The distinct gold and generated responses of the training rows, RESPONSE_SET, sorted by text.

    Texts that differ only in white space are one response; one that is both gold and generated is
    gold. The order and the ids depend on the texts alone, not on how the rows lie in files.
    Raises ValueError where no training row has a response.
    """
    best: dict[str, tuple[bool, str, str]] = {}  # normalised text -> (generated?, teacher, text)
    for candidate in _training_candidates(targets_uri):
        normalised = " ".join(candidate["text"].split())
        if candidate["source"] not in ("gold", "generated") or not normalised:
            continue
        entry = (candidate["source"] == "generated", candidate["teacher"] or "", candidate["text"].strip())
        best[normalised] = min(entry, best.get(normalised, entry))
    if not best:
        raise ValueError(f"{targets_uri}: no gold or generated response in the training split")
    rows = [
        {
            "response_id": hashlib.sha256(normalised.encode()).hexdigest()[:16],
            "text": text,
            "source": "generated" if generated else "gold",
            "teacher": teacher or None,
        }
        for normalised, (generated, teacher, text) in sorted(best.items())
    ]
    return pa.Table.from_pylist(rows, schema=RESPONSE_SET)


def write_index(
    targets_uri: str,
    student: EncoderSource,
    output_uri: str,
    config: IndexConfig,
    context_turns: int,
    tally: Tally,
) -> dict[str, int]:
    """Counts of the response set (`num_responses`, `num_gold`, `num_generated`), once its index is written.

    `context_turns` is the student's; the responder reads it, `kind` and `max_tokens` from `index.json`.
    """
    responses = response_set(targets_uri)
    with tempfile.TemporaryDirectory(prefix="rejoinder-index-") as scratch:
        texts = responses["text"].to_pylist()
        vectors = texts_to_vectors({"response": texts}, student, tally)["response"]
        folder = Path(scratch) / "built"
        folder.mkdir()
        pa.parquet.write_table(responses, folder / RESPONSES_FILE)
        vectors_file = folder / VECTORS_FILES[student.kind]
        if student.kind == "dense":
            faiss.write_index(_faiss_index(vectors, config), str(vectors_file))
        else:
            write_postings(invert(vectors), vectors_file)
        metadata = {
            "metric": "inner_product",
            "dimensions": vectors.shape[1],
            "num_responses": len(responses),
            "student_kind": student.kind,
            "student_hash": student_hash(str(local_folder(student.model, Path(scratch)))),
            "kind": config.kind if student.kind == "dense" else "inverted",
            "context_turns": context_turns,
            "max_tokens": student.max_tokens,
        }
        (folder / METADATA_FILE).write_text(json.dumps(metadata, indent=2) + "\n")
        publish_folder(folder, output_uri, last=METADATA_FILE)
    num_gold = responses["source"].to_pylist().count("gold")
    return {
        "num_responses": len(responses),
        "num_gold": num_gold,
        "num_generated": len(responses) - num_gold,
    }


def load_index(index_folder: str, student_folder: str) -> Index:
    """The index of a local folder, ready to search.

    Raises ValueError where it is incomplete or damaged, or was not built by the student of `student_folder`:
    two students' vectors cannot be compared, and the answers would be noise.
    """
    folder = Path(index_folder)
    if not (folder / METADATA_FILE).is_file():
        raise ValueError(f"{index_folder}: no complete index, {METADATA_FILE} is missing")
    metadata = json.loads((folder / METADATA_FILE).read_text())
    if metadata.get("student_kind") not in VECTORS_FILES:  # as of version 0.1
        raise ValueError(
            f"{index_folder}: {METADATA_FILE} says no kind of student: run the index stage again"
        )
    loaded_hash = student_hash(student_folder)
    if metadata["student_hash"] != loaded_hash:
        raise ValueError(
            f"the index {index_folder} was built by the student {metadata['student_hash']}, "
            f"but {student_folder} is {loaded_hash}: run the index stage again"
        )
    vectors = _read_vectors(folder, metadata["student_kind"])
    responses = pa.parquet.read_table(folder / RESPONSES_FILE)
    if not vectors.ntotal == len(responses) == metadata["num_responses"]:
        raise ValueError(
            f"{index_folder}: {vectors.ntotal} vectors, {len(responses)} responses, "
            f"{metadata['num_responses']} in {METADATA_FILE}"
        )
    return Index(vectors=vectors, responses=responses, metadata=metadata)


def _training_candidates(targets_uri: str) -> Iterator[dict[str, Any]]:
    filesystem, path = open_uri(targets_uri)
    targets = pyarrow.dataset.dataset(path, filesystem=filesystem, format="parquet")
    training = pyarrow.dataset.field("split") == "train"
    for batch in targets.to_batches(columns=["candidates"], filter=training):
        for candidates in batch["candidates"].to_pylist():
            yield from candidates


def _read_vectors(folder: Path, student_kind: Kind) -> Any:
    file = folder / VECTORS_FILES[student_kind]
    if student_kind == "sparse":
        return read_postings(file)
    try:
        return faiss.read_index(str(file))
    except RuntimeError as error:  # what FAISS raises for every failure
        raise ValueError(f"{file}: no FAISS index ({error})") from error


def _faiss_index(vectors: Vectors, config: IndexConfig) -> Any:
    index: Any
    if config.kind == "flat":
        index = faiss.IndexFlatIP(vectors.shape[1])
    else:
        index = faiss.IndexHNSWFlat(vectors.shape[1], config.hnsw_neighbours, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = config.hnsw_ef_search
    index.add(vectors)
    return index
