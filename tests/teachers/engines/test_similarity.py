"""A retriever and a cross-encoder as teachers."""

from pathlib import Path

import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer

from teachers.config import SimilarityTeacher
from teachers.engines.protocol import Group
from teachers.engines.similarity import Similarity
from tests.tiny_models import make_cross_encoder, make_student

WORDS = ["hey", "how", "are", "you", "fine", "music", "songs"]
TURNS = [
    {"role": "user", "content": "songs"},
    {"role": "assistant", "content": "hey"},
    {"role": "user", "content": "how are you"},
]
GROUPS = [Group(TURNS, ["fine", "music songs"]), Group(TURNS[:1], ["fine"])]


def _values(teacher: Similarity) -> list[float | None]:
    return [score.similarity for group_scores in teacher.score(GROUPS) for score in group_scores]


def test_a_retriever_scores_by_the_cosine_to_the_newest_turns_newest_first(tmp_path: Path) -> None:
    folder = make_student(tmp_path / "model", WORDS)
    teacher = Similarity("tiny", SimilarityTeacher(kind="similarity", model=str(folder), max_tokens=16))
    model = SentenceTransformer(str(folder), device="cpu")
    [first, second, songs, fine, music] = model.encode(
        ["how are you\nhey", "songs", "songs", "fine", "music songs"], normalize_embeddings=True
    )
    assert _values(teacher) == pytest.approx([first @ fine, first @ music, second @ fine], abs=1e-5)
    assert songs == pytest.approx(second)
    line = teacher.check()
    # Nothing is nearer to what was said than the same again.
    assert "tiny: retriever, similarity" in line and "prefers an echo in 4 of 4 known contexts" in line


def test_a_cross_encoder_is_recognised_and_reads_both_texts(tmp_path: Path) -> None:
    model = str(make_cross_encoder(tmp_path / "judge", WORDS, ["score"]))
    teacher = Similarity("tiny", SimilarityTeacher(kind="similarity", model=model, max_tokens=32))
    pairs = [("how are you\nhey", "fine"), ("how are you\nhey", "music songs"), ("songs", "fine")]
    expected = CrossEncoder(model, device="cpu").predict(pairs, show_progress_bar=False)
    assert _values(teacher) == pytest.approx([float(value) for value in expected], abs=1e-5)
    assert "cross-encoder" in teacher.check()
