import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from serve.config import DenseKind, IndexConfig
from serve.dense import choose_kind
from serve.index import load_index
from serve.indexing import write_index
from serve.inverted import InvertedIndex
from serve.versions import check_version, versions
from student.encoders.encoder import EncoderSource, embed_texts, load_encoder
from tests.serve.conftest import version_folder


def test_row_i_of_the_responses_is_vector_i(small_run: Path) -> None:
    index = load_index(version_folder(small_run))
    texts = index.responses["text"].to_pylist()
    encoder = load_encoder(EncoderSource(str(small_run / "student"), "dense", 32))
    expected = embed_texts(encoder, texts, "response")
    stored = index.vectors.vectors(np.arange(len(texts)))
    np.testing.assert_allclose(stored, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1.0, atol=1e-5)


def test_column_i_of_the_postings_is_the_sparse_vector_of_row_i(sparse_run: Path) -> None:
    index = load_index(version_folder(sparse_run))
    assert isinstance(index.vectors, InvertedIndex)
    encoder = load_encoder(EncoderSource(str(sparse_run / "student"), "sparse", 32))
    expected = embed_texts(encoder, index.responses["text"].to_pylist(), "response")
    np.testing.assert_allclose(index.vectors.postings.T.toarray(), expected.toarray(), rtol=1e-5, atol=1e-5)


def test_a_search_returns_inner_products_best_first(small_run: Path) -> None:
    index = load_index(version_folder(small_run))
    stored = index.vectors.vectors(np.arange(4))
    scores, rows = index.vectors.search(stored[:2], 4)
    assert scores.shape == rows.shape == (2, 4)
    expected = stored[:2] @ stored.T
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1), atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(expected, rows, axis=1), scores, atol=1e-5)


def test_a_sparse_search_returns_inner_products_best_first(sparse_run: Path) -> None:
    index = load_index(version_folder(sparse_run))
    vectors = index.vectors.postings.T.tocsr()
    scores, rows = index.vectors.search(vectors[:2], 4)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    expected = (vectors[:2] @ vectors.T).toarray()
    np.testing.assert_array_equal(rows, np.argsort(-expected, axis=1, kind="stable"))
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1), rtol=1e-5)


def test_the_metadata_describes_the_index(small_run: Path, sparse_run: Path) -> None:
    metadata = json.loads((version_folder(small_run) / "index.json").read_text())
    sparse_metadata = json.loads((version_folder(sparse_run) / "index.json").read_text())
    assert metadata.pop("student_hash") != sparse_metadata.pop("student_hash")
    assert set(metadata.pop("files")) == {"index.faiss", "responses.arrow"}
    assert len(sparse_metadata.pop("files")) == 5

    assert metadata == {
        "metric": "inner_product",
        "dimensions": 16,
        "num_responses": 4,
        "student_kind": "dense",
        "kind": "exact",
        "context_turns": 4,
        "max_tokens": 32,
    }
    # 13 words and BERT's five special tokens.
    assert sparse_metadata == {**metadata, "dimensions": 18, "student_kind": "sparse", "kind": "inverted"}


def test_writing_a_version_leaves_the_older_ones_unchanged(tmp_path: Path, small_run: Path) -> None:
    shutil.copytree(small_run, tmp_path, dirs_exist_ok=True)
    run = str(tmp_path)
    old = check_version(run)
    before = {path: path.read_bytes() for path in version_folder(tmp_path).rglob("*") if path.is_file()}
    student = EncoderSource(str(tmp_path / "student"), "dense", 32, "fp32")
    responses = load_index(version_folder(small_run)).responses
    counts = write_index(responses.slice(1), student, run, IndexConfig(), 4, lambda *_: None)
    assert versions(run) == sorted([old, counts["version"]])
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("kind", ["hnsw", "quantised"])
def test_approximate_kinds_agree_with_exact_search_on_a_small_set_and_obey_filters(
    tmp_path: Path, small_run: Path, kind: DenseKind
) -> None:
    student = EncoderSource(str(small_run / "student"), "dense", 32, "fp32")
    exact = load_index(version_folder(small_run))
    write_index(exact.responses, student, str(tmp_path), IndexConfig(kind=kind), 4, lambda *_: None)
    approximate = load_index(version_folder(tmp_path))
    queries = exact.vectors.vectors(np.arange(4))

    for allowed in (np.array([True] * 4), np.array([True, False, True, True])):
        expected, rows = exact.vectors.search(queries, 3, exact.vectors.only(allowed))
        scores, near = approximate.vectors.search(queries, 3, approximate.vectors.only(allowed))
        np.testing.assert_allclose(scores, expected, atol=2e-2)
        assert not (near == 1).any() or allowed[1]

    stored = approximate.vectors.vectors(rows[0])
    np.testing.assert_allclose(stored, exact.vectors.vectors(rows[0]), atol=2e-2)


@pytest.mark.parametrize(("size", "kind"), [(100, "exact"), (10_000_000, "hnsw")])
def test_auto_chooses_by_the_number_of_responses(size: int, kind: str) -> None:
    assert choose_kind(IndexConfig(), size) == kind
    assert choose_kind(IndexConfig(kind="quantised"), size) == "quantised"


@pytest.fixture
def damaged(tmp_path: Path, any_run: Path) -> Path:
    """A copy of a version's folder, to damage."""
    return Path(shutil.copytree(version_folder(any_run), tmp_path / "version"))


def test_another_students_index_is_refused_and_both_are_named(damaged: Path) -> None:
    metadata = json.loads((damaged / "index.json").read_text())
    ours = metadata["student_hash"]
    (damaged / "index.json").write_text(json.dumps({**metadata, "student_hash": "0123abcd"}))
    with pytest.raises(ValueError, match=f"0123abcd.*{ours}"):
        load_index(damaged)


def test_an_index_without_its_last_file_is_refused(damaged: Path) -> None:
    (damaged / "index.json").unlink()
    with pytest.raises(ValueError, match=r"index\.json is missing"):
        load_index(damaged)


@pytest.mark.parametrize("damage", ["missing", "cut off", "empty", "changed"])
def test_a_missing_or_damaged_file_is_named(damaged: Path, damage: str) -> None:
    for file in [path for path in damaged.iterdir() if path.suffix in (".faiss", ".npy", ".arrow")]:
        content = file.read_bytes()

        file.unlink()
        if damage != "missing":
            changed = {
                "cut off": content[: len(content) // 2],
                "empty": b"",
                "changed": content[:-1] + bytes([content[-1] ^ 1]),
            }
            file.write_bytes(changed[damage])

        with pytest.raises(ValueError, match=rf"{file.name} is missing or damaged"):
            load_index(damaged)
        file.write_bytes(content)
    load_index(damaged)


def test_metadata_of_another_version_of_rejoinder_is_refused(damaged: Path) -> None:
    (damaged / "index.json").write_text('{"num_responses": 4}')
    with pytest.raises(ValueError, match="another version of Rejoinder"):
        load_index(damaged)
