"""The documents' vectors, made once by the frozen encoder: what teachers and students search. N documents."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.fs
from scipy.sparse import csr_matrix, load_npz, save_npz

from student.encoders.encoder import EncoderSource, Tally, Vectors, texts_to_vectors
from teachers.dataset import Rows, local_folder, open_uri

_FILES = {"dense": "vectors.npy", "sparse": "vectors.npz"}


class DocumentVectors(NamedTuple):
    """Where documents and their vectors lie."""

    documents_uri: str
    vectors_uri: str


def write_vectors(
    documents_uri: str, vectors_uri: str, encoder: EncoderSource, tally: Tally
) -> dict[str, int]:
    """Writes the vectors [N, D] of DOCUMENTS in their order, replacing what was there."""
    texts = [row["text"] for row in Rows(documents_uri)]
    vectors = texts_to_vectors({"response": texts}, encoder, tally)["response"]
    filesystem, path = open_uri(vectors_uri)
    if filesystem.get_file_info(path).type != pyarrow.fs.FileType.NotFound:
        filesystem.delete_dir(path)
    filesystem.create_dir(path, recursive=True)
    with tempfile.TemporaryDirectory(prefix="rejoinder-vectors-") as scratch:
        if isinstance(vectors, csr_matrix):
            save_npz(f"{scratch}/{_FILES['sparse']}", vectors)
        else:
            np.save(f"{scratch}/{_FILES['dense']}", vectors)
        pyarrow.fs.copy_files(scratch, path, destination_filesystem=filesystem)
    return {"documents": len(texts), "dimensions": vectors.shape[1]}


def read_vectors(vectors_uri: str, scratch: Path) -> Vectors:
    """The vectors [N, D]: dense ones mapped from their file, which is copied to `scratch` if it is far."""
    folder = local_folder(vectors_uri, scratch)
    if (folder / _FILES["sparse"]).is_file():
        return load_npz(folder / _FILES["sparse"]).tocsr()
    return np.load(folder / _FILES["dense"], mmap_mode="r")


def vectors_of_candidates(targets_uri: str, of: DocumentVectors) -> tuple[list[str], Vectors]:
    """The candidates of TARGETS that are documents, and their vectors [K, D]."""
    wanted = {candidate["text"] for row in Rows(targets_uri) for candidate in row["candidates"]}
    places = {row["text"]: place for place, row in enumerate(Rows(of.documents_uri)) if row["text"] in wanted}
    with tempfile.TemporaryDirectory(prefix="rejoinder-vectors-") as scratch:
        return list(places), read_vectors(of.vectors_uri, Path(scratch))[list(places.values())]
