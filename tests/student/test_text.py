"""A conversation becomes text, a text a vector."""

from pathlib import Path

import numpy as np
import pytest

from student.encoders.embedding import texts_to_vectors_of_each
from student.encoders.encoder import EncoderSource, embed_texts, load_encoder, student_hash
from student.encoders.packaged import resolve_model
from student.text import context_text
from tests.student.student_rows import MESSAGES, NUM_WORDS


def test_the_newest_turns_are_kept_newest_first() -> None:
    assert context_text(MESSAGES, 2) == "good thanks\nfine and you"
    assert context_text(MESSAGES, 9) == "good thanks\nfine and you\nhow are you"


def test_embeddings_have_length_one(tiny_encoder: Path) -> None:
    vectors = embed_texts(
        load_encoder(EncoderSource(str(tiny_encoder), "dense", 16)), ["w1", "w2"], "context"
    )
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_sparse_vectors_have_a_weight_above_zero_for_each_active_term(tiny_sparse_encoder: Path) -> None:
    encoder = load_encoder(EncoderSource(str(tiny_sparse_encoder), "sparse", 16))
    vectors = embed_texts(encoder, ["w1", "w2 w3"], "response")
    assert vectors.shape == (2, NUM_WORDS + 5)  # BERT's five special tokens
    assert vectors.dtype == np.float32
    assert 0 < vectors.nnz < 2 * vectors.shape[1]
    assert (vectors.data > 0).all()


@pytest.mark.parametrize("number", [600, 60])  # by actors, and by this process
def test_vectors_come_in_the_order_of_their_texts(
    number: int, tiny_encoder: Path, tiny_sparse_encoder: Path, ray_cluster: None
) -> None:
    sources = [
        EncoderSource(str(tiny_encoder), "dense", 16, "fp32"),
        EncoderSource(str(tiny_sparse_encoder), "sparse", 16, "fp32"),
    ]
    distinct = [f"w{i % 30} w{i // 30}" for i in range(number)]
    texts = [*distinct[::-1], *distinct[:3]]
    tally: list[tuple[int, int]] = []
    results = texts_to_vectors_of_each({"context": texts}, sources, lambda *counts: tally.append(counts))
    for source, vectors in zip(sources, results, strict=True):
        expected = embed_texts(load_encoder(source), texts, "context")
        assert abs(vectors["context"] - expected).max() < 1e-4
    assert tally[-1] == (2 * number, 2 * number)


def test_a_model_of_the_other_kind_is_refused(tiny_encoder: Path, tiny_sparse_encoder: Path) -> None:
    with pytest.raises(ValueError, match="is a dense encoder"):
        load_encoder(EncoderSource(str(tiny_encoder), "sparse", 16))
    with pytest.raises(ValueError, match="is a sparse encoder"):
        load_encoder(EncoderSource(str(tiny_sparse_encoder), "dense", 16))


def test_a_path_that_leads_nowhere_is_named() -> None:
    with pytest.raises(ValueError, match="no/such/student"):
        resolve_model("./no/such/student")


def test_a_folder_resolves_to_itself(tiny_encoder: Path) -> None:
    assert resolve_model(str(tiny_encoder)) == str(tiny_encoder.resolve())


def test_an_id_that_is_not_in_the_local_cache_is_named() -> None:
    with pytest.raises(ValueError, match="nobody/nothing"):
        resolve_model("nobody/nothing")


def test_the_hash_follows_the_weights_and_not_the_readme(tiny_encoder: Path, tmp_path: Path) -> None:
    encoder = load_encoder(EncoderSource(str(tiny_encoder), "dense", 16))
    encoder.save(str(tmp_path / "same"))
    encoder.save(str(tmp_path / "changed"))
    (tmp_path / "same" / "README.md").write_text("other words")
    weights = tmp_path / "changed" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    again = tmp_path / "again"
    encoder.save(str(again))
    assert student_hash(str(tmp_path / "same")) == student_hash(str(again))
    assert student_hash(str(tmp_path / "changed")) != student_hash(str(again))
