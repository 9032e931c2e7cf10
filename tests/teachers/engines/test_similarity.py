"""A retriever and a cross-encoder as teachers."""

import json
from pathlib import Path

import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Router

from teachers.config import SimilarityTeacher, VllmTeacher
from teachers.engines.protocol import Group
from teachers.engines.similarity import Similarity
from teachers.engines.weights import check_teacher_model
from teachers.inference.store import pairs_uri
from tests.tiny_models import make_cross_encoder, make_sparse_student, make_student

WORDS = ["hey", "how", "are", "you", "fine", "music", "songs"]
TURNS = [
    {"role": "user", "content": "songs"},
    {"role": "assistant", "content": "hey"},
    {"role": "user", "content": "how are you"},
]
GROUPS = [Group(TURNS, ["fine", "music songs"]), Group(TURNS[:1], ["fine"])]


def _config(folder: Path) -> SimilarityTeacher:
    return SimilarityTeacher(kind="similarity", model=str(folder))


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


def test_a_retriever_has_its_prompts_before_contexts_and_responses(tmp_path: Path) -> None:
    """The library adds an empty prompt for `document` to those of E5."""
    plain = make_student(tmp_path / "plain", WORDS)
    prompts = {"query": "you ", "passage": "hey "}
    SentenceTransformer(str(plain), device="cpu", prompts=prompts).save(str(tmp_path / "e5"))
    teacher = Similarity("tiny", _config(tmp_path / "e5"))
    [first, second, fine, music] = SentenceTransformer(str(plain), device="cpu").encode(
        ["you how are you\nhey", "you songs", "hey fine", "hey music songs"], normalize_embeddings=True
    )
    assert _values(teacher) == pytest.approx([first @ fine, first @ music, second @ fine], abs=1e-5)


def test_scores_without_the_prompts_are_not_taken_for_those_with_them(tmp_path: Path) -> None:
    folder = make_student(tmp_path / "model", WORDS)
    keys = set()
    for prompts in ({}, {"query": "you "}, {"query": "you ", "passage": "hey "}):
        settings = folder / "config_sentence_transformers.json"
        settings.write_text(json.dumps({"model_type": "SentenceTransformer", "prompts": prompts}))
        keys.add(pairs_uri("store", _config(folder)))
    assert len(keys) == 3


@pytest.mark.parametrize("saved", [True, False])  # by sentence-transformers, and the checkpoint alone
def test_splade_scores_by_the_inner_product_of_its_terms(saved: bool, tmp_path: Path) -> None:
    folder = make_sparse_student(tmp_path / "model", WORDS)
    teacher = Similarity("tiny", _config(folder if saved else tmp_path / "model-bert"))
    model = SparseEncoder(str(folder), device="cpu")
    [first, second, fine, music] = model.encode(
        ["how are you\nhey", "songs", "fine", "music songs"], convert_to_sparse_tensor=False
    ).numpy()
    assert _values(teacher) == pytest.approx([first @ fine, first @ music, second @ fine], rel=1e-4)
    assert "tiny: sparse retriever" in teacher.check()


def test_two_encoders_read_the_context_and_the_response(tmp_path: Path) -> None:
    plain = SentenceTransformer(str(make_student(tmp_path / "plain", WORDS)), device="cpu")
    towers = [SentenceTransformer(str(tmp_path / "plain"), device="cpu") for _ in range(2)]
    for weights in towers[0].parameters():
        weights.data += 0.1
    router = Router.for_query_document(*(list(tower.children()) for tower in towers))
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "two"))

    check_teacher_model(_config(tmp_path / "two"))
    teacher = Similarity("tiny", _config(tmp_path / "two"))
    first, second = towers[0].encode(["how are you\nhey", "songs"], normalize_embeddings=True)
    fine, music = plain.encode(["fine", "music songs"], normalize_embeddings=True)
    assert _values(teacher) == pytest.approx([first @ fine, first @ music, second @ fine], abs=1e-5)


def test_the_layout_with_a_folder_for_the_transformer_is_read(tmp_path: Path) -> None:
    folder = make_student(tmp_path / "model", WORDS)
    expected = _values(Similarity("tiny", _config(folder)))
    (folder / "0_Transformer").mkdir()
    for file in list(folder.iterdir()):
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(folder / "0_Transformer" / file.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0] |= {"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}
    (folder / "modules.json").write_text(json.dumps(modules))

    check_teacher_model(_config(folder))
    assert _values(Similarity("tiny", _config(folder))) == pytest.approx(expected, abs=1e-5)


def test_no_more_tokens_are_read_than_there_are_positions(tmp_path: Path) -> None:
    """The models have 64 positions, and 128 tokens are the default."""
    long = [Group([{"role": "user", "content": "how are you " * 50}], ["songs " * 100])]
    folders = [
        make_student(tmp_path / "model", WORDS),
        make_cross_encoder(tmp_path / "judge", WORDS, ["score"]),
    ]
    for folder in folders:
        [[score]] = Similarity("tiny", _config(folder)).score(long)
        assert score.similarity is not None and abs(score.similarity) < 1e3


def test_a_model_that_scores_no_pairs_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    labels = ["contradiction", "entailment", "neutral"]
    judge = make_cross_encoder(tmp_path / "judge", WORDS, labels)
    with pytest.raises(ValueError, match="with one score, got 3: contradiction, entailment, neutral"):
        check_teacher_model(_config(judge))
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(ValueError, match="expected a retriever or a cross-encoder, got LlamaForCausalLM"):
        check_teacher_model(_config(tmp_path))
    check_teacher_model(VllmTeacher(model=str(tmp_path)))


@pytest.mark.parametrize("packaged", [True, False])
def test_a_retriever_is_no_generative_teacher(packaged: bool, tmp_path: Path) -> None:
    model = "all-minilm-l6-v2" if packaged else str(make_student(tmp_path / "model", WORDS))
    with pytest.raises(ValueError, match="expected a generative model, got"):
        check_teacher_model(VllmTeacher(model=model))
