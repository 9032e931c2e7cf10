"""A conversation becomes text, a text an embedding."""

from pathlib import Path

import numpy as np
import pytest

from student.encoder import embed_texts, load_encoder, resolve_model, student_hash
from student.text import context_text
from tests.student.student_rows import MESSAGES


def test_the_newest_turns_are_kept_newest_first() -> None:
    assert context_text(MESSAGES, 2) == "good thanks\nfine and you"
    assert context_text(MESSAGES, 9) == "good thanks\nfine and you\nhow are you"


def test_embeddings_have_length_one(tiny_encoder: Path) -> None:
    vectors = embed_texts(load_encoder(str(tiny_encoder), 16), ["w1", "w2 w3"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_a_path_that_leads_nowhere_is_named() -> None:
    with pytest.raises(ValueError, match="no/such/student"):
        resolve_model("./no/such/student")


def test_a_folder_resolves_to_itself(tiny_encoder: Path) -> None:
    assert resolve_model(str(tiny_encoder)) == str(tiny_encoder.resolve())


def test_an_id_that_is_not_in_the_local_cache_is_named() -> None:
    with pytest.raises(ValueError, match="nobody/nothing"):
        resolve_model("nobody/nothing")


def test_the_hash_follows_the_weights_and_not_the_readme(tiny_encoder: Path, tmp_path: Path) -> None:
    encoder = load_encoder(str(tiny_encoder), 16)
    encoder.save(str(tmp_path / "same"))
    encoder.save(str(tmp_path / "changed"))
    (tmp_path / "same" / "README.md").write_text("other words")
    weights = tmp_path / "changed" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    again = tmp_path / "again"
    encoder.save(str(again))
    assert student_hash(str(tmp_path / "same")) == student_hash(str(again))
    assert student_hash(str(tmp_path / "changed")) != student_hash(str(again))
