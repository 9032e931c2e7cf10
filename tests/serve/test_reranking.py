"""A run whose responder ranks the student's best responses anew by another encoder, too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from serve.changes import Changes
from serve.config import IndexConfig
from serve.encoders import load_encoders
from serve.index import load_index
from serve.indexing import ValidationContexts, write_confident_index
from serve.responder import Responder
from student.encoders.encoder import EncoderSource, embed_texts, load_encoder
from student.evaluation.held_out import ContextSample
from student.evaluation.response_ranking import measure
from student.retrieval.reranking import Reranked, encoders_of, reranked
from teachers.dataset import write_rows
from teachers.records import EXAMPLES, RESPONSE_SET
from teachers.texts import is_near_copy, response_id
from tests.serve.conftest import WORDS, version_folder
from tests.serve.test_abstention import validation_rows
from tests.tiny_models import make_student

pytestmark = pytest.mark.usefixtures("ray_cluster")
TEXTS = [f"{first} {second}" for first in WORDS for second in WORDS[::3]]
DEPTH = 7
SOURCES = frozenset({"gold"})


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Reranked:
    """Two encoders of different weights."""
    folder = tmp_path_factory.mktemp("encoders")
    make_student(folder / "student", WORDS)
    make_student(folder / "reranker", WORDS[::-1])
    student, reranker = (
        EncoderSource(str(folder / name), "dense", 32, "fp32") for name in ("student", "reranker")
    )
    return Reranked(student, reranker, DEPTH)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, ranker: Reranked) -> Path:
    """A run with an index that is re-ranked."""
    run = tmp_path_factory.mktemp("reranked")
    write_rows(str(run / "examples"), validation_rows(30), EXAMPLES)
    rows = [
        {"response_id": response_id(text), "text": text, "source": "gold", "teacher": None} for text in TEXTS
    ]
    validation = ValidationContexts(str(run / "examples"), ContextSample(2, 100, seed=0))
    responses, config = pa.Table.from_pylist(rows, RESPONSE_SET), IndexConfig()
    write_confident_index(responses, validation, ranker, str(run), config, lambda *_: None)
    return run


@pytest.fixture(scope="module")
def responder(run: Path) -> Responder:
    index = load_index(version_folder(run))
    return Responder(index, load_encoders(str(run), index, "torch", threads=1), Changes())


def best_texts(encoders: Sequence[EncoderSource], context: str, texts: Sequence[str]) -> list[str]:
    """The texts in the order that both encoders give them, without near copies of the context."""
    scores = []
    for source in encoders:
        encoder = load_encoder(source)
        vectors = embed_texts(encoder, [context], "context"), embed_texts(encoder, texts, "response")
        scores.append((vectors[0] @ vectors[1].T)[0])
    order = np.argsort(-reranked(scores[0], scores[1], DEPTH), kind="stable")
    return [texts[row] for row in order if not is_near_copy(texts[row], [context])]


def answers(responder: Responder, text: str, k: int) -> list[str]:
    return [response.text for response in responder.respond([{"role": "user", "content": text}], k).responses]


@pytest.mark.parametrize("k", [1, 5, 30])
def test_the_students_best_are_in_the_order_of_both_encoders(
    responder: Responder, ranker: Reranked, k: int
) -> None:
    for word in WORDS:
        assert answers(responder, word, k) == best_texts(encoders_of(ranker), word, TEXTS)[:k]
        scores = [
            response.score for response in responder.respond([{"role": "user", "content": word}], k).responses
        ]
        assert scores == sorted(scores, reverse=True)
    students = [best_texts([ranker.student, ranker.student], word, TEXTS)[0] for word in WORDS]
    assert students != [answers(responder, word, 1)[0] for word in WORDS]


def test_added_responses_are_reranked_and_withdrawn_ones_left_out(
    responder: Responder, ranker: Reranked
) -> None:
    added = ["good good good", "fish fish"]
    left_out = best_texts(encoders_of(ranker), "fish", TEXTS)[0]
    changes = Changes(
        {response_id(text): text for text in added}, frozenset({response_id(left_out)}), frozenset()
    )
    remaining = [text for text in TEXTS if text != left_out] + added
    assert (
        answers(responder.changed(changes), "fish", 20)
        == best_texts(encoders_of(ranker), "fish", remaining)[:20]
    )


def test_the_evaluation_ranks_as_the_responder_does(
    run: Path, responder: Responder, ranker: Reranked
) -> None:
    contexts = ValidationContexts(str(run / "examples"), ContextSample(2, 20, seed=0)).held_out(TEXTS)
    assert contexts is not None
    measured = measure({"validation": contexts}, {"re-ranked": ranker}, lambda *_: None)["re-ranked"]
    for context, expected, score in zip(
        validation_rows(30), measured["validation"].answers, measured["validation"].best_scores, strict=False
    ):
        retrieved = responder.respond(context["context"], 3).responses
        assert [response.text for response in retrieved] == expected
        assert retrieved[0].score == pytest.approx(score, abs=1e-3)


def test_a_version_with_another_reranker_is_refused(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "version"
    copy.mkdir()
    for file in version_folder(run).rglob("*"):
        if file.is_file():
            (copy / file.relative_to(version_folder(run))).parent.mkdir(parents=True, exist_ok=True)
            (copy / file.relative_to(version_folder(run))).write_bytes(file.read_bytes())
    make_student(copy / "reranker", WORDS)
    with pytest.raises(ValueError, match=r"its vectors are of the reranker \w+, but reranker/ is \w+"):
        load_index(copy)
