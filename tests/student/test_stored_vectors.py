"""A text is embedded once: later calls take its vector from the store."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from student.encoders import embedding
from student.encoders.embedding import texts_to_vectors, texts_to_vectors_of_each
from student.encoders.encoder import EncoderSource, Side
from tests.student.student_rows import NUM_WORDS

TEXTS = [f"w{number % NUM_WORDS} w{number // NUM_WORDS}" for number in range(200)]


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts of each block that was embedded."""
    blocks_of_all: list[list[str]] = []
    embed_here = embedding._embed_here

    def record(blocks: Sequence[pa.Table], sources: Sequence[EncoderSource]) -> Iterator[dict[str, Any]]:
        blocks_of_all.extend(block["text"].to_pylist() for block in blocks)
        yield from embed_here(blocks, sources)

    monkeypatch.setattr(embedding, "_embed_here", record)
    return blocks_of_all


def source_with_store(folder: Path, store: Path) -> EncoderSource:
    return EncoderSource(str(folder), "dense", 12, "fp32", store=str(store))


def test_a_stored_text_is_not_embedded_again(
    tiny_encoder: Path, tmp_path: Path, embedded: list[list[str]]
) -> None:
    source = source_with_store(tiny_encoder, tmp_path / "vectors")
    texts_to_vectors({"response": TEXTS[:80]}, source, lambda *_: None)
    texts_to_vectors({"response": TEXTS[40:120] + TEXTS[:1]}, source, lambda *_: None)
    assert embedded == [TEXTS[:80], TEXTS[80:120]]

    tallies: list[tuple[int, int]] = []
    mixed = [TEXTS[110], TEXTS[3], TEXTS[110], TEXTS[60]]
    stored = texts_to_vectors({"response": mixed}, source, lambda *tally: tallies.append(tally))
    assert len(embedded) == 2 and not tallies

    anew = texts_to_vectors({"response": mixed}, replace(source, store=None), lambda *_: None)
    np.testing.assert_allclose(stored["response"], anew["response"], atol=1e-6)


def test_encoders_sides_and_lengths_have_vectors_of_their_own(
    tiny_encoder: Path, tiny_sparse_encoder: Path, tmp_path: Path, embedded: list[list[str]]
) -> None:
    source = source_with_store(tiny_encoder, tmp_path / "vectors")
    shorter, sparse = replace(source, max_tokens=3), EncoderSource(str(tiny_sparse_encoder), "sparse", 12)
    sources = [source, shorter, replace(sparse, store=source.store)]
    texts_to_vectors({"response": TEXTS[:10]}, source, lambda *_: None)

    texts: dict[Side, list[str]] = {"context": TEXTS[:10], "response": TEXTS[:10]}
    # All but the stored responses; then the sparse encoder's two sides, which are not stored.
    for num_blocks in (5, 2):
        embedded.clear()
        vectors = texts_to_vectors_of_each(texts, sources, lambda *_: None)
        assert len(embedded) == num_blocks
        for of_source, one in zip(vectors, sources, strict=True):
            alone = texts_to_vectors({"response": TEXTS[:10]}, replace(one, store=None), lambda *_: None)
            difference = of_source["response"] - alone["response"]
            assert abs(difference).max() < 1e-6
