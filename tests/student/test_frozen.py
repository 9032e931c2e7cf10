"""Vectors of responses that no training changes."""

import torch

from student.frozen import FrozenResponses


class Encoder:
    """Makes a vector of a text's number, and notes what it was asked."""

    def __init__(self, is_sparse: bool) -> None:
        self.asked: list[list[str]] = []
        self._is_sparse = is_sparse

    def __call__(self, texts: list[str]) -> torch.Tensor:
        self.asked.append(texts)
        vectors = torch.zeros(len(texts), 8) if self._is_sparse else torch.ones(len(texts), 8)
        for vector, text in zip(vectors, texts, strict=True):
            vector[int(text)] = 1 + int(text)
        return vectors


def test_each_text_is_encoded_once_and_its_vector_stays_what_it_was() -> None:
    for is_sparse in (True, False):
        encoder, frozen = Encoder(is_sparse), FrozenResponses()
        first = frozen.vectors(["1", "2"], encoder)
        second = frozen.vectors(["2", "3", "1"], encoder)
        assert encoder.asked == [["1", "2"], ["3"]]
        torch.testing.assert_close(second, Encoder(is_sparse)(["2", "3", "1"]))
        torch.testing.assert_close(first, second[[2, 0]])


def test_what_was_not_asked_for_longest_is_forgotten() -> None:
    encoder, frozen = Encoder(is_sparse=True), FrozenResponses(most=2)
    frozen.vectors(["1", "2", "3"], encoder)  # more than it keeps
    frozen.vectors(["2"], encoder)
    frozen.vectors(["4"], encoder)
    frozen.vectors(["2", "3"], encoder)
    assert encoder.asked == [["1", "2", "3"], ["4"], ["3"]]
