from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serve.changes import Changes
from serve.conversations import hold_conversation
from serve.encoders import load_encoders
from serve.index import load_index
from serve.inverted import invert
from serve.responder import Answer, Responder
from student.encoders.encoder import EncoderSource, embed_texts, inner_products, load_encoder
from student.text import context_text
from teachers.texts import response_id
from tests.serve.conftest import version_folder

CONVERSATION = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "hi how are you"},
    {"role": "user", "content": "are you here"},
]


def make_responder(run: Path) -> Responder:
    index = load_index(version_folder(run))
    return Responder(index, load_encoders(str(run), index, "torch", threads=1), Changes())


@pytest.fixture(scope="module")
def responder(any_run: Path) -> Responder:
    return make_responder(any_run)


def texts(answer: Answer) -> list[str]:
    return [response.text for response in answer.responses]


def test_scores_are_inner_products_of_the_students_vectors(responder: Responder, any_run: Path) -> None:
    kind = load_index(version_folder(any_run)).metadata["student_kind"]
    encoder = load_encoder(EncoderSource(str(any_run / "student"), kind, 32))
    query = embed_texts(encoder, [context_text(CONVERSATION, 4)], "context")
    responses = responder.respond(CONVERSATION, 4).responses

    expected = []
    for response in responses:
        vector = embed_texts(encoder, [response.text], "response")
        expected.append(inner_products(query, vector).item())

    assert [response.score for response in responses] == pytest.approx(expected, rel=1e-5, abs=1e-5)
    scores = responder.score(CONVERSATION, [response.text for response in responses])
    assert scores == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_the_best_response_comes_first_and_k_bounds_them(responder: Responder) -> None:
    everything = responder.respond(CONVERSATION, 100).responses
    assert len(everything) == responder.num_responses == 4
    assert np.all(np.diff([response.score for response in everything]) <= 0)
    assert responder.respond(CONVERSATION, 2).responses == everything[:2]


def test_a_search_leaves_out_documents_that_share_no_term_with_the_conversation(
    sparse_run: Path, small_run: Path
) -> None:
    index = load_index(version_folder(sparse_run))
    vectors = index.vectors.postings.T.tolil()
    vectors[1] = 0  # the response in row 1 has no term left

    encoders = load_encoders(str(sparse_run), index, "torch", threads=1)
    sparse = Responder(replace(index, vectors=invert(vectors.tocsr())), encoders, Changes())
    left_out = index.responses["text"][1].as_py()
    assert texts(sparse.respond(CONVERSATION, 4))[-1] == left_out
    assert texts(sparse.search(CONVERSATION, 4)) == texts(sparse.respond(CONVERSATION, 3))

    dense = make_responder(small_run)
    assert texts(dense.search(CONVERSATION, 4)) == texts(dense.respond(CONVERSATION, 4))


def test_a_response_has_its_source_and_teacher(responder: Responder) -> None:
    by_text = {response.text: response for response in responder.respond(CONVERSATION, 4).responses}
    assert (by_text["good night"].source, by_text["good night"].teacher) == ("gold", None)
    assert (by_text["hello hello"].source, by_text["hello hello"].teacher) == ("generated", "gemma")


def test_responses_come_from_the_requested_sources(responder: Responder) -> None:
    everything = responder.respond(CONVERSATION, 4).responses
    for source in ("gold", "generated"):
        responses = responder.respond(CONVERSATION, 4, frozenset([source])).responses
        assert responses == [response for response in everything if response.source == source]
    assert responder.respond(CONVERSATION, 4, frozenset(["added"])).responses == []


def test_a_system_message_changes_nothing(responder: Responder) -> None:
    system = {"role": "system", "content": "are you here"}
    plain = responder.respond(CONVERSATION, 4)
    assert responder.respond([system, *CONVERSATION], 4).responses == plain.responses
    with pytest.raises(ValueError, match="at least one message"):
        responder.respond([system], 4)


def test_the_parts_of_an_answer_are_timed_and_its_tokens_counted(responder: Responder) -> None:
    answer = responder.respond([{"role": "user", "content": "good night"}], 1)
    assert answer.tokens == 4  # two words between the two that BERT puts around a text
    assert min(answer.timings.tokenise, answer.timings.encode, answer.timings.search) > 0


def test_responses_are_added_and_withdrawn_without_the_index(responder: Responder) -> None:
    gone, base = response_id("good night"), responder.respond(CONVERSATION, 4).responses
    changes = Changes({response_id(text): text for text in ("cook fish", "fine thanks")}, frozenset([gone]))
    changed = responder.changed(changes)

    assert changed.num_responses == 4  # one more, one less, and one that was there
    responses = changed.respond(CONVERSATION, 10).responses
    assert len(responses) == 4 and "good night" not in [response.text for response in responses]

    [added] = changed.respond(CONVERSATION, 10, frozenset(["added"])).responses
    assert (added.text, added.source) == ("cook fish", "added")
    assert added.score == pytest.approx(responder.score(CONVERSATION, ["cook fish"])[0], rel=1e-5, abs=1e-5)
    assert np.all(np.diff([response.score for response in responses]) <= 0)

    assert changed.text_of(response_id("cook fish")) == "cook fish"
    assert changed.text_of(response_id("good night")) == "good night"
    assert changed.text_of(response_id("nobody says")) is None

    # The first responder is unchanged.
    assert responder.respond(CONVERSATION, 4).responses == base
    assert changed.changed(Changes()).respond(CONVERSATION, 4).responses == base


def test_diversity_demotes_responses_similar_to_better_ones(responder: Responder) -> None:
    changed = responder.changed(Changes({"a": "good night good night", "b": "good good night"}))
    plain, diverse = changed.respond(CONVERSATION, 6), changed.respond(CONVERSATION, 6, diversity=0.9)
    assert sorted(texts(plain)) == sorted(texts(diverse))
    assert diverse.responses[0] == plain.responses[0]
    assert texts(plain) != texts(diverse)
    scores = {response.text: response.score for response in plain.responses}
    assert all(response.score == scores[response.text] for response in diverse.responses)


def test_added_responses_alone_are_diverse_too(responder: Responder) -> None:
    changed = responder.changed(Changes({"a": "good night good night", "b": "good good night"}))
    diverse = changed.respond(CONVERSATION, 2, frozenset(["added"]), diversity=0.9)
    assert sorted(texts(diverse)) == ["good good night", "good night good night"]


def test_a_withdrawn_added_response_comes_back_when_it_is_restored(responder: Responder) -> None:
    text = "never cook fish"
    withdrawn = responder.changed(Changes({response_id(text): text}, frozenset([response_id(text)])))
    assert text not in texts(withdrawn.respond(CONVERSATION, 10)) and withdrawn.num_responses == 4

    restored = withdrawn.changed(Changes({response_id(text): text}))
    assert text in texts(restored.respond(CONVERSATION, 10)) and restored.num_responses == 5


def test_the_nearest_responses_have_cosines_and_withdrawn_ones_are_among_them(responder: Responder) -> None:
    changed = responder.changed(Changes({"a": "good good night"}, frozenset([response_id("good night")])))
    nearest = changed.nearest("good night", 10)
    assert (nearest[0].text, nearest[0].score) == ("good night", pytest.approx(1, abs=1e-5))
    assert {response.text for response in nearest} >= {"good good night", "hello hello"}
    scores = [response.score for response in nearest]
    assert scores == sorted(scores, reverse=True) and max(scores) < 1.001
    assert len(changed.nearest("good night", 2)) == 2


def test_a_response_that_was_said_is_not_retrieved_and_near_copies_come_last(responder: Responder) -> None:
    everything = texts(responder.respond(CONVERSATION, 4))
    later = [
        {"role": "user", "content": "GOOD NIGHT!"},
        {"role": "assistant", "content": "hello, hello there"},
    ]
    unsaid = texts(responder.respond([*CONVERSATION, *later], 4))
    assert set(unsaid) == set(everything) - {"good night"}
    assert unsaid[-1] == "hello hello"


def test_ten_turns_have_no_repeated_answer_and_none_where_all_was_said(responder: Responder) -> None:
    answers = [turn.answer for turn in hold_conversation(responder, ["are you here"] * 10)]
    # "fine thanks" and "Fine thanks" are one answer.
    assert len(set(answers[:3])) == 3 and answers[3:] == [None] * 7


def test_a_document_that_nearly_copies_a_turn_keeps_its_place_in_a_search(small_run: Path) -> None:
    responder = make_responder(small_run)
    scores = [
        response.score for response in responder.search([{"role": "user", "content": "hello"}], 4).responses
    ]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True)
    echoed = texts(responder.respond([{"role": "user", "content": "hello"}], 4))
    assert echoed[-1] == "hello hello"
