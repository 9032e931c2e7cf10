"""A responder whose index says how sure an answer is."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from scipy.special import expit

from serve.answers import answer_above
from serve.changes import Changes
from serve.config import IndexConfig
from serve.conversations import hold_conversation
from serve.encoders import load_encoders
from serve.index import load_index
from serve.indexing import ValidationContexts, write_confident_index
from serve.responder import Responder
from student.encoders.encoder import EncoderSource
from student.evaluation.held_out import ContextSample
from teachers.dataset import write_rows
from teachers.records import EXAMPLES, RESPONSE_SET
from teachers.texts import response_id
from tests.serve.conftest import WORDS, version_folder
from tests.student.student_rows import example_rows
from tests.tiny_models import make_student

pytestmark = pytest.mark.usefixtures("ray_cluster")
HELLO = [{"role": "user", "content": "hello how are you"}]


def validation_rows(count: int) -> list[dict[str, Any]]:
    """EXAMPLES with contexts of words that the student knows."""
    rows = example_rows(count, "validation")
    for number, row in enumerate(rows):
        words = WORDS[number % len(WORDS)], WORDS[5 * number % len(WORDS)], WORDS[number // len(WORDS)]
        row["context"] = [{"role": "user", "content": " ".join(words)}]
    return rows


def responder_of(run: Path, num_examples: int, coverage: float) -> Responder:
    """The responder of an index with a confidence from so many validation examples."""
    texts = ["fine thanks", "good night", "never cook fish", "hello how are you hello"]
    rows = [
        {"response_id": response_id(text), "text": text, "source": "gold", "teacher": None} for text in texts
    ]
    write_rows(str(run / "examples"), validation_rows(num_examples), EXAMPLES)
    make_student(run / "student", WORDS)
    student = EncoderSource(str(run / "student"), "dense", 32, "fp32")

    validation = ValidationContexts(str(run / "examples"), ContextSample(2, 100, seed=0))
    responses, config = pa.Table.from_pylist(rows, RESPONSE_SET), IndexConfig(coverage=coverage)
    write_confident_index(responses, validation, student, str(run), config, lambda *_: None)

    index = load_index(version_folder(run))
    return Responder(index, load_encoders(str(run), index, "torch", threads=1), Changes())


def test_turns_of_unusual_words_get_no_answer_unless_a_least_score_is_set(tmp_path: Path) -> None:
    responder = responder_of(tmp_path, 30, coverage=0.7)
    for text, is_answered in (("good fish", True), ("xqzv bnmw", False), ("Как дела?", False)):
        # What was said before, in usual words, does not count.
        messages = [
            *HELLO,
            {"role": "assistant", "content": "fine thanks"},
            {"role": "user", "content": text},
        ]
        answer = answer_above(responder.respond(messages, 1), None, responder)
        assert (answer.answer is not None) == is_answered, text
        assert ("unusual" in str(answer.reason)) != is_answered
        assert answer_above(responder.respond(messages, 1), -1.0, responder).answer is not None

    contexts = [row["context"] for row in validation_rows(30)]
    answers = [answer_above(responder.respond(context, 1), None, responder).answer for context in contexts]
    assert 21 <= sum(answer is not None for answer in answers) < 30


def test_near_copies_do_not_answer_where_nothing_else_is_good_enough(tmp_path: Path) -> None:
    responder = responder_of(tmp_path, 30, coverage=0.8)
    retrieved = responder.respond(HELLO, 4)
    copy = retrieved.responses[-1]
    assert copy.text == "hello how are you hello"
    assert copy.score > retrieved.responses[0].score

    answer = answer_above(retrieved, (copy.score + retrieved.responses[0].score) / 2, responder)
    assert answer.answer is None and not answer.responses
    assert f"the best score is {retrieved.responses[0].score:.4f}" in str(answer.reason)


def test_a_turn_without_an_answer_is_not_followed_by_one(tmp_path: Path) -> None:
    responder = responder_of(tmp_path, 30, coverage=0.8)
    turns = hold_conversation(responder, ["xqzv", "bnmw xqzv"])
    assert [(turn.user, turn.answer) for turn in turns] == [("xqzv", None), ("bnmw xqzv", None)]
    assert all(turn.score is not None for turn in turns)


def test_an_index_of_another_version_is_refused(tmp_path: Path) -> None:
    responder_of(tmp_path, 30, coverage=0.8)
    file = version_folder(tmp_path) / "index.json"
    file.write_text(file.read_text().replace("max_cross_entropy", "min_score"))
    with pytest.raises(ValueError, match=r"index\.json is damaged or of another version of Rejoinder"):
        load_index(file.parent)


def test_an_answer_has_a_confidence_where_scores_say_something_of_it(tmp_path: Path) -> None:
    responder_of(tmp_path, 30, coverage=1.0)
    for slope, is_given in ((3.0, True), (0.0, False)):
        index = load_index(version_folder(tmp_path))
        index.metadata["confidence"] = {"max_cross_entropy": 9.0, "slope": slope, "intercept": -1.0}
        responder = Responder(index, load_encoders(str(tmp_path), index, "torch", threads=1), Changes())
        retrieved = responder.respond(HELLO, 1)

        confidence = answer_above(retrieved, None, responder).confidence
        expected = expit(slope * retrieved.responses[0].score - 1) if is_given else None
        assert confidence == pytest.approx(expected)


def test_with_too_few_validation_responses_every_turn_is_answered(tmp_path: Path) -> None:
    responder = responder_of(tmp_path, 10, coverage=0.5)
    assert responder.confidence is None
    answer = answer_above(responder.respond(HELLO, 1), None, responder)
    assert answer.answer is not None and answer.confidence is None
