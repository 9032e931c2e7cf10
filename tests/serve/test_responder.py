from pathlib import Path

import numpy as np
import pytest

from serve.index import load_index
from serve.responder import Responder
from student.encoder import EncoderSource, embed_texts, inner_products, load_encoder
from student.text import context_text

CONVERSATION = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hi how are you"},
    {"role": "user", "content": "good night"},
]


@pytest.fixture(scope="module")
def responder(any_run: Path) -> Responder:
    return Responder(str(any_run / "student"), str(any_run / "index"))


def test_scores_are_inner_products_of_the_students_vectors(responder: Responder, any_run: Path) -> None:
    kind = load_index(str(any_run / "index"), str(any_run / "student")).metadata["student_kind"]
    encoder = load_encoder(EncoderSource(str(any_run / "student"), kind, 32))
    query = embed_texts(encoder, [context_text(CONVERSATION, 4)], "context")
    for response in responder.respond(CONVERSATION, 4):
        expected = inner_products(query, embed_texts(encoder, [response.text], "response"))
        assert response.score == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)


def test_the_best_response_comes_first_and_k_bounds_them(responder: Responder) -> None:
    everything = responder.respond(CONVERSATION, 100)
    assert len(everything) == responder.num_responses == 4
    assert np.all(np.diff([response.score for response in everything]) <= 0)
    assert responder.respond(CONVERSATION, 2) == everything[:2]


def test_a_response_says_where_it_came_from(responder: Responder) -> None:
    found = {response.text: response for response in responder.respond(CONVERSATION, 4)}
    assert (found["good night"].source, found["good night"].teacher) == ("gold", None)
    assert (found["hello hello"].source, found["hello hello"].teacher) == ("generated", "gemma")


def test_a_system_message_changes_nothing(responder: Responder) -> None:
    system = {"role": "system", "content": "never cook fish"}
    assert responder.respond([system, *CONVERSATION], 4) == responder.respond(CONVERSATION, 4)
    with pytest.raises(ValueError, match="at least one message"):
        responder.respond([system], 4)
