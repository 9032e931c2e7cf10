"""Cached vectors of a frozen response encoder."""

from pathlib import Path

import pytest
import torch

from student.config import StudentConfig
from student.encoders.encoder import EncoderSource
from student.retrieval.document_vectors import DocumentVectors, vectors_of_candidates, write_vectors
from student.training.frozen_responses import FrozenResponses
from student.training.loop import build_model
from teachers.dataset import write_rows
from teachers.records import DOCUMENTS, TARGETS


class Encoder:
    """Encoder of numbers that records the requested texts."""

    def __init__(self, is_sparse: bool) -> None:
        self.requests: list[list[str]] = []
        self._is_sparse = is_sparse

    def __call__(self, texts: list[str]) -> torch.Tensor:
        self.requests.append(texts)
        vectors = torch.zeros(len(texts), 8) if self._is_sparse else torch.ones(len(texts), 8)
        for vector, text in zip(vectors, texts, strict=True):
            vector[int(text)] = 1 + int(text)
        return vectors


def test_each_text_is_encoded_once() -> None:
    for is_sparse in (True, False):
        encoder, frozen = Encoder(is_sparse), FrozenResponses()
        first = frozen.vectors(["1", "2"], encoder)
        second = frozen.vectors(["2", "3", "1"], encoder)
        assert encoder.requests == [["1", "2"], ["3"]]
        torch.testing.assert_close(second, Encoder(is_sparse)(["2", "3", "1"]))
        torch.testing.assert_close(first, second[[2, 0]])


def test_the_least_recently_used_vector_is_dropped() -> None:
    encoder, frozen = Encoder(is_sparse=True), FrozenResponses(max_texts=2)
    frozen.vectors(["1", "2", "3"], encoder)  # more than its maximum
    frozen.vectors(["2"], encoder)
    frozen.vectors(["4"], encoder)
    frozen.vectors(["2", "3"], encoder)
    assert encoder.requests == [["1", "2", "3"], ["4"], ["3"]]


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_document_vectors_equal_those_of_the_frozen_encoder(
    tmp_path: Path, tiny_encoder: Path, tiny_sparse_encoder: Path, kind: str
) -> None:
    """`add` takes the candidates' vectors from the index, and nothing is encoded."""
    model = tiny_sparse_encoder if kind == "sparse" else tiny_encoder
    documents = DocumentVectors(str(tmp_path / "documents"), str(tmp_path / "vectors"))
    texts = ["w1 w2", "w3", "w4 w4 w5", "w6"]
    write_rows(documents.documents_uri, [{"doc_id": text[:2], "text": text} for text in texts], DOCUMENTS)
    write_vectors(*documents, EncoderSource(str(model), kind, 16, "fp32"), lambda *_: None)
    candidates = [
        {"text": text, "source": "gold", "teacher": None} for text in ("w4 w4 w5", "not there", "w3")
    ]
    row = {"example_id": "q", "split": "train", "context": [], "candidates": candidates, "target_probs": None}
    write_rows(str(tmp_path / "targets"), [row], TARGETS)

    responses, vectors = vectors_of_candidates(str(tmp_path / "targets"), documents)
    assert responses == ["w3", "w4 w4 w5"]
    frozen = FrozenResponses()
    frozen.add(responses, vectors, torch.device("cpu"))
    config = StudentConfig.model_validate(
        {
            "model": str(model),
            "kind": kind,
            "encoders": "frozen_responses",
            "max_tokens": 16,
            "precision": "fp32",
        }
    )
    trained = build_model(config)
    features = trained.encoder.preprocess(responses)
    with torch.no_grad():
        expected = trained(features, "response")
    torch.testing.assert_close(frozen.vectors(responses, refuse), expected, rtol=1e-5, atol=1e-5)


def refuse(texts: list[str]) -> torch.Tensor:
    raise AssertionError(f"{texts} must not be encoded")
