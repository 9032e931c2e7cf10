"""One vector for one text, wherever it is made, and models that make none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import BertTokenizerFast

from serve.encoders import TorchEncoder
from student.config import Kind, StudentConfig
from student.encoders.encoder import (
    EncoderSource,
    Side,
    Vectors,
    embed_texts,
    load_encoder,
    separate_encoders,
    tokens_of,
)
from student.encoders.packaged import check_encoder, check_frozen_layers, check_max_tokens, check_student
from student.export.onnx_encoder import OnnxEncoder
from student.export.onnx_export import export_student
from student.training.step import StepEncoder
from tests.student.student_rows import NUM_WORDS
from tests.tiny_models import make_cross_encoder

TEXTS = [" ".join(f"w{(i * 7 + j) % NUM_WORDS}" for j in range(1 + i % 9)) for i in range(64)]
SIDES: tuple[Side, ...] = ("context", "response")


def matryoshka(folder: Path, output: Path) -> Path:
    SentenceTransformer(str(folder), device="cpu", truncate_dim=8).save(str(output))
    return output


def with_prompts(folder: Path, output: Path, **prompts: str) -> Path:
    """Save the model with prompts; the library adds an empty `document` prompt."""
    SentenceTransformer(str(folder), device="cpu", prompts=prompts).save(str(output))
    return output


def in_numbers(vectors: Vectors) -> NDArray[np.float32]:
    return vectors.toarray() if isinstance(vectors, csr_matrix) else vectors


def assert_one_vector_everywhere(folder: Path, kind: Kind, scratch: Path) -> NDArray[np.float32]:
    """Indexing, training, serving and an export make the same vectors; return those of contexts."""
    source = EncoderSource(str(folder), kind, 12, "fp32")
    served = TorchEncoder(source)
    texts: dict[Side, list[str]] = {"context": TEXTS, "response": TEXTS}
    manifest = export_student(folder, str(scratch / "onnx"), kind, 12, texts)

    encoder = load_encoder(source).cpu()
    step = StepEncoder(encoder).eval()
    for side in SIDES:
        indexed = in_numbers(embed_texts(encoder, TEXTS, side))
        with torch.no_grad():
            trained = step(tokens_of(encoder, TEXTS, side), side).numpy()
        answering = in_numbers(served.encode(served.tokenise(TEXTS, side), side))
        entry = manifest["encoders"][side]
        exported = OnnxEncoder.load(scratch / "onnx" / entry["fp32"]["file"], entry["prompt"]).embed(TEXTS)
        for vectors in (trained, answering, exported):
            np.testing.assert_allclose(vectors, indexed, atol=1e-4)
    return in_numbers(embed_texts(encoder, TEXTS, "context"))


def test_a_matryoshka_students_vectors_have_its_dimensions_everywhere(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = matryoshka(tiny_encoder, tmp_path / "student")
    vectors = assert_one_vector_everywhere(folder, "dense", tmp_path)
    assert vectors.shape == (len(TEXTS), 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_separate_encoders_keep_the_dimensions(tiny_encoder: Path, tmp_path: Path) -> None:
    source = EncoderSource(str(matryoshka(tiny_encoder, tmp_path / "student")), "dense", 12)
    separate = separate_encoders(load_encoder(source))
    separate.save(str(tmp_path / "two"))
    again = load_encoder(EncoderSource(str(tmp_path / "two"), "dense", 12))
    np.testing.assert_allclose(
        embed_texts(again, TEXTS, "response"), embed_texts(load_encoder(source), TEXTS, "response"), atol=1e-5
    )


def test_a_sparse_students_vectors_have_as_many_terms_as_it_says_everywhere(
    tiny_sparse_encoder: Path, tmp_path: Path
) -> None:
    encoder = SparseEncoder(str(tiny_sparse_encoder), device="cpu", max_active_dims=5)
    encoder.save(str(tmp_path / "student"))
    vectors = assert_one_vector_everywhere(tmp_path / "student", "sparse", tmp_path)
    assert (vectors > 0).sum(axis=1).max() == 5


@pytest.mark.parametrize("name", ["passage", "corpus"])
def test_a_prompt_before_responses_is_used_everywhere(name: str, tiny_encoder: Path, tmp_path: Path) -> None:
    prompts = {"query": "w1 ", name: "w2 w3 "}
    folder = with_prompts(tiny_encoder, tmp_path / "student", **prompts)
    assert_one_vector_everywhere(folder, "dense", tmp_path)

    encoder = load_encoder(EncoderSource(str(folder), "dense", 12))
    plain = load_encoder(EncoderSource(str(tiny_encoder), "dense", 12))
    expected = embed_texts(plain, ["w2 w3 w4"], "response")
    np.testing.assert_allclose(embed_texts(encoder, ["w4"], "response"), expected, atol=1e-5)
    # The library finds it, too, once the student is saved.
    encoder.save(str(tmp_path / "saved"))
    library = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(library.encode_document(["w4"]), expected, atol=1e-5)


def test_no_more_tokens_are_read_than_there_are_positions(tiny_encoder: Path) -> None:
    """The model has 64 positions."""
    encoder = load_encoder(EncoderSource(str(tiny_encoder), "dense", 128))
    vectors = embed_texts(encoder, ["w1 " * 100], "context")
    assert np.isfinite(vectors).all()


def test_a_student_that_is_to_read_more_tokens_than_it_can_is_refused(tiny_encoder: Path) -> None:
    check_max_tokens(StudentConfig(model=str(tiny_encoder), max_tokens=64))
    with pytest.raises(ValueError, match=r"expected at most the 64 positions of .*, got 65"):
        check_max_tokens(StudentConfig(model=str(tiny_encoder), max_tokens=65))


def test_a_student_of_which_no_layer_is_left_to_train_is_refused(
    tiny_encoder: Path, tiny_sparse_encoder: Path
) -> None:
    check_frozen_layers(StudentConfig(model=str(tiny_encoder), frozen_layers=1))
    check_frozen_layers(StudentConfig(kind="sparse", model=str(tiny_sparse_encoder), frozen_layers=2))
    with pytest.raises(ValueError, match=r"expected less than the 2 layers of .*, got 2"):
        check_frozen_layers(StudentConfig(model=str(tiny_encoder), frozen_layers=2))


def test_a_model_of_another_kind_is_no_student(
    tiny_encoder: Path, tiny_sparse_encoder: Path, tmp_path: Path
) -> None:
    words = ["w1", "w2"]
    tokenizer = BertTokenizerFast(vocab={"[PAD]": 0, "[UNK]": 1, "w1": 2})
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu")
    static.save(str(tmp_path / "static"))
    cross_encoder = make_cross_encoder(tmp_path / "judge", words, ["score"])

    models: list[tuple[Path, Kind, str]] = [
        (tiny_sparse_encoder, "dense", "is a sparse encoder"),
        (tiny_encoder, "sparse", "is a dense encoder"),
        (cross_encoder, "dense", "expected a dense encoder of single texts, got BertForSequence"),
        (tmp_path / "static", "dense", "expected a transformer that can be trained, got StaticEmbedding"),
    ]
    for folder, kind, message in models:
        with pytest.raises(ValueError, match=message):
            check_student(StudentConfig(kind=kind, model=str(folder)))

    # It retrieves, and reads as many tokens as it is told to.
    assert check_encoder(str(tmp_path / "static"), "dense").positions is None
    retriever = load_encoder(EncoderSource(str(tmp_path / "static"), "dense", 1))
    first, both = embed_texts(retriever, ["w1", "w1 w2"], "response")
    np.testing.assert_allclose(first, both)
