"""A retriever and a cross-encoder as teachers."""

from pathlib import Path

import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from teachers.config import SimilarityTeacher
from teachers.similarity import Similarity
from teachers.teacher import Group
from tests.tiny_models import make_student

WORDS = ["hey", "how", "are", "you", "fine", "music", "songs"]
TURNS = [
    {"role": "user", "content": "songs"},
    {"role": "assistant", "content": "hey"},
    {"role": "user", "content": "how are you"},
]
GROUPS = [Group(TURNS, ["fine", "music songs"]), Group(TURNS[:1], ["fine"])]


def _values(teacher: Similarity) -> list[float | None]:
    return [score.similarity for found in teacher.score(GROUPS) for score in found]


def test_a_retriever_scores_by_the_cosine_to_the_newest_turns_newest_first(tmp_path: Path) -> None:
    folder = make_student(tmp_path / "model", WORDS)
    teacher = Similarity("tiny", SimilarityTeacher(kind="similarity", model=str(folder), max_tokens=16))
    model = SentenceTransformer(str(folder), device="cpu")
    [first, second, songs, fine, music] = model.encode(
        ["how are you\nhey", "songs", "songs", "fine", "music songs"], normalize_embeddings=True
    )
    assert _values(teacher) == pytest.approx([first @ fine, first @ music, second @ fine], abs=1e-5)
    assert songs == pytest.approx(second)
    assert "tiny: retriever, similarity" in teacher.check()


def test_a_cross_encoder_is_recognised_and_reads_both_texts(tmp_path: Path) -> None:
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=1.0,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    BertTokenizerFast(vocab=vocabulary, model_max_length=64).save_pretrained(tmp_path)
    teacher = Similarity("tiny", SimilarityTeacher(kind="similarity", model=str(tmp_path), max_tokens=32))
    pairs = [("how are you\nhey", "fine"), ("how are you\nhey", "music songs"), ("songs", "fine")]
    expected = CrossEncoder(str(tmp_path), device="cpu").predict(pairs, show_progress_bar=False)
    assert _values(teacher) == pytest.approx([float(value) for value in expected], abs=1e-5)
    assert "cross-encoder" in teacher.check()
