import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from serve.config import IndexConfig
from serve.index import load_index, response_set, write_index
from serve.inverted import InvertedIndex
from student.encoder import EncoderSource, embed_texts, load_encoder
from teachers.records import RESPONSE_SET


def test_the_response_set_is_the_distinct_training_replies_and_generations(targets: Path) -> None:
    responses = response_set(str(targets))
    assert responses.schema.equals(RESPONSE_SET)
    found = [(row["text"], row["source"], row["teacher"]) for row in responses.to_pylist()]
    # Sorted by text. Gold wins over generated, the first teacher by name over the others; case counts;
    # random and retrieved candidates and the validation row's reply are left out.
    assert found == [
        ("Fine thanks", "generated", "gemma"),
        ("fine thanks", "gold", None),
        ("good night", "gold", None),
        ("hello hello", "generated", "gemma"),
    ]
    assert len(set(responses["response_id"].to_pylist())) == 4


def test_a_response_set_without_responses_is_refused(tmp_path: Path, targets: Path) -> None:
    table = pyarrow.parquet.read_table(targets / "part.parquet").slice(2)  # the validation row only
    pyarrow.parquet.write_table(table, tmp_path / "part.parquet")
    with pytest.raises(ValueError, match="no gold or generated response"):
        response_set(str(tmp_path))


def test_row_i_of_the_responses_is_vector_i(small_run: Path) -> None:
    index = load_index(str(small_run / "index"), str(small_run / "student"))
    texts = index.responses["text"].to_pylist()
    encoder = load_encoder(EncoderSource(str(small_run / "student"), "dense", 32))
    expected = embed_texts(encoder, texts, "response")
    stored = index.vectors.reconstruct_n(0, len(texts))
    np.testing.assert_allclose(stored, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1.0, atol=1e-5)


def test_column_i_of_the_postings_is_the_sparse_vector_of_row_i(sparse_run: Path) -> None:
    index = load_index(str(sparse_run / "index"), str(sparse_run / "student"))
    assert isinstance(index.vectors, InvertedIndex)
    encoder = load_encoder(EncoderSource(str(sparse_run / "student"), "sparse", 32))
    expected = embed_texts(encoder, index.responses["text"].to_pylist(), "response")
    np.testing.assert_allclose(index.vectors.postings.T.toarray(), expected.toarray(), rtol=1e-5, atol=1e-5)


def test_a_search_returns_inner_products_best_first_and_at_most_all(small_run: Path) -> None:
    index = load_index(str(small_run / "index"), str(small_run / "student"))
    stored = index.vectors.reconstruct_n(0, 4)
    scores, rows = index.search(stored[:2], 100)
    assert scores.shape == rows.shape == (2, 4)
    expected = stored[:2] @ stored.T
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1), atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(expected, rows, axis=1), scores, atol=1e-5)


def test_a_sparse_search_returns_at_most_all(sparse_run: Path) -> None:
    index = load_index(str(sparse_run / "index"), str(sparse_run / "student"))
    vectors = index.vectors.postings.T.tocsr()
    scores, rows = index.search(vectors[:2], 100)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    expected = (vectors[:2] @ vectors.T).toarray()
    np.testing.assert_array_equal(rows, np.argsort(-expected, axis=1, kind="stable"))
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1), rtol=1e-5)


def test_the_metadata_describes_the_index(small_run: Path, sparse_run: Path) -> None:
    metadata = json.loads((small_run / "index" / "index.json").read_text())
    of_sparse = json.loads((sparse_run / "index" / "index.json").read_text())
    assert metadata.pop("student_hash") != of_sparse.pop("student_hash")
    assert metadata == {
        "metric": "inner_product",
        "dimensions": 16,
        "num_responses": 4,
        "student_kind": "dense",
        "kind": "flat",
        "context_turns": 4,
        "max_tokens": 32,
    }
    # 13 words and BERT's five special tokens.
    assert of_sparse == {**metadata, "dimensions": 18, "student_kind": "sparse", "kind": "inverted"}


def test_hnsw_finds_the_same_as_the_exact_index_on_a_small_set(
    tmp_path: Path, small_run: Path, targets: Path
) -> None:
    folder = str(small_run / "student")
    student = EncoderSource(folder, "dense", 32, "fp32")
    write_index(str(targets), student, str(tmp_path / "index"), IndexConfig(kind="hnsw"), 4, lambda *_: None)
    exact, graph = load_index(str(small_run / "index"), folder), load_index(str(tmp_path / "index"), folder)
    queries = exact.vectors.reconstruct_n(0, 4)
    np.testing.assert_allclose(exact.search(queries, 2)[0], graph.search(queries, 2)[0], atol=1e-5)


def test_another_students_index_is_refused_and_both_are_named(tmp_path: Path, small_run: Path) -> None:
    shutil.copytree(small_run / "index", tmp_path / "index")
    metadata = json.loads((tmp_path / "index" / "index.json").read_text())
    ours = metadata["student_hash"]
    (tmp_path / "index" / "index.json").write_text(json.dumps({**metadata, "student_hash": "0123abcd"}))
    with pytest.raises(ValueError, match=f"0123abcd.*{ours}"):
        load_index(str(tmp_path / "index"), str(small_run / "student"))


def test_an_index_without_its_last_file_is_refused(tmp_path: Path, small_run: Path) -> None:
    shutil.copytree(small_run / "index", tmp_path / "index")
    (tmp_path / "index" / "index.json").unlink()
    with pytest.raises(ValueError, match=r"index\.json is missing"):
        load_index(str(tmp_path / "index"), str(small_run / "student"))


@pytest.mark.parametrize("damage", ["missing", "cut off", "empty"])
def test_a_missing_or_damaged_file_of_vectors_is_named(tmp_path: Path, any_run: Path, damage: str) -> None:
    shutil.copytree(any_run / "index", tmp_path / "index")
    [file] = [path for path in (tmp_path / "index").iterdir() if path.suffix in (".faiss", ".npz")]
    content = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(content[: len(content) // 2] if damage == "cut off" else b"")
    with pytest.raises(ValueError, match=rf"{file.name}: no (FAISS index|posting lists)"):
        load_index(str(tmp_path / "index"), str(any_run / "student"))


def test_an_index_that_says_no_kind_of_student_is_refused(tmp_path: Path, small_run: Path) -> None:
    shutil.copytree(small_run / "index", tmp_path / "index")
    metadata = json.loads((tmp_path / "index" / "index.json").read_text())
    del metadata["student_kind"]
    (tmp_path / "index" / "index.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="run the index stage again"):
        load_index(str(tmp_path / "index"), str(small_run / "student"))
