"""Documents' vectors, made once by the frozen encoder: teachers and students search them. N documents."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, load_npz, save_npz

from student.encoders.embedding import Tally, texts_to_vectors
from student.encoders.encoder import EncoderSource, Vectors
from teachers.dataset import Rows
from teachers.storage import copy_folder, local_folder, make_empty_folder

_FILES = {"dense": "vectors.npy", "sparse": "vectors.npz"}


class DocumentVectors(NamedTuple):
    """URIs of DOCUMENTS and of their vectors."""

    documents_uri: str
    vectors_uri: str


def write_vectors(
    documents_uri: str, vectors_uri: str, encoder: EncoderSource, tally: Tally
) -> dict[str, int]:
    """Write the vectors [N, D] of DOCUMENTS in their order, replacing earlier ones."""
    texts = [row["text"] for row in Rows(documents_uri)]
    vectors = texts_to_vectors({"response": texts}, encoder, tally)["response"]
    make_empty_folder(vectors_uri)
    with tempfile.TemporaryDirectory(prefix="rejoinder-vectors-") as scratch:
        if isinstance(vectors, csr_matrix):
            save_npz(f"{scratch}/{_FILES['sparse']}", vectors)
        else:
            np.save(f"{scratch}/{_FILES['dense']}", vectors)
        copy_folder(Path(scratch), vectors_uri)
    return {"documents": len(texts), "dimensions": vectors.shape[1]}


def read_vectors(vectors_uri: str, scratch: Path) -> Vectors:
    """Return the vectors [N, D]; dense ones are mapped from their file, which `scratch` gets if remote."""
    folder = local_folder(vectors_uri, scratch)
    if (folder / _FILES["sparse"]).is_file():
        return load_npz(folder / _FILES["sparse"]).tocsr()
    return np.load(folder / _FILES["dense"], mmap_mode="r")


def vectors_of_candidates(targets_uri: str, documents: DocumentVectors) -> tuple[list[str], Vectors]:
    """Return the candidates of TARGETS that are documents, and their vectors [K, D]."""
    candidates: set[str] = set()
    for row in Rows(targets_uri):
        candidates.update(candidate["text"] for candidate in row["candidates"])

    document_rows: dict[str, int] = {}
    for number, row in enumerate(Rows(documents.documents_uri)):
        if row["text"] in candidates:
            document_rows[row["text"]] = number

    with tempfile.TemporaryDirectory(prefix="rejoinder-vectors-") as scratch:
        vectors = read_vectors(documents.vectors_uri, Path(scratch))
        return list(document_rows), vectors[list(document_rows.values())]
