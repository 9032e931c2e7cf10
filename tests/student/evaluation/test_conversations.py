"""Measures of conversations, worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from student.evaluation.conversations import conversation_measures


def test_shares_are_of_answered_turns_and_no_answer_of_all() -> None:
    user_turns = [["hi there", "how is work?", "and now?", "bye"], ["do you like fish?"]]
    answers = [["Hi there!", "not bad at all", "Not bad at all.", None], ["Not bad, at all"]]
    # Four answers: "Hi there!" copies the user, "Not bad at all." repeats; the second begins anew.
    assert conversation_measures(user_turns, answers) == {
        "verbatim_repeats": 0.25,
        "near_repeats": 0.25,
        "echoes": 0.25,
        "distinct_answers": 0.5,
        "no_answer": pytest.approx(0.2),
        "conversations": 2,
        "turns": 5,
    }


def test_a_later_turn_of_the_user_is_not_echoed_and_an_edited_answer_is_a_near_repeat() -> None:
    answers = ["I have two big dogs", "I have two big brown dogs"]
    measures = conversation_measures([["pets?", "I have two big dogs"]], [answers])
    assert (measures["verbatim_repeats"], measures["near_repeats"], measures["echoes"]) == (0, 0.5, 0.5)


CONVERSATION = st.lists(st.tuples(st.text(max_size=8), st.none() | st.text(max_size=8)), max_size=6)


@given(st.lists(CONVERSATION, max_size=4))
def test_measures_are_shares_and_a_verbatim_repeat_is_a_near_one(
    conversations: list[list[tuple[str, str | None]]],
) -> None:
    user_turns = [[turn for turn, _ in rows] for rows in conversations]
    measures = conversation_measures(user_turns, [[answer for _, answer in rows] for rows in conversations])
    shares = [value for name, value in measures.items() if name not in ("conversations", "turns")]
    assert all(0 <= share <= 1 for share in shares)
    assert measures["verbatim_repeats"] <= measures["near_repeats"]
