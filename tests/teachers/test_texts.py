"""What counts as the same text, and as a near copy, in any script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teachers.texts import is_near_copy, said_keys, text_key


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Hi, how are YOU?!", "hi how  are you"),
        ("Straße…", "STRASSE"),
        ("你好。", "你好"),
        ("ＯＫ", "ok"),
        ("\u00a1Hola!", "hola"),
    ],
)
def test_case_width_punctuation_and_white_space_do_not_matter(text: str, same: str) -> None:
    assert text_key(text) == text_key(same)


@pytest.mark.parametrize(
    ("text", "other"), [("👍", "👎"), ("कि", "का"), ("c++", "c"), ("?", "!"), ("no", "yes"), ("ä", "a")]
)
def test_emoji_vowel_signs_and_symbols_do_matter(text: str, other: str) -> None:
    assert text_key(text) != text_key(other)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_key_is_its_own_key_and_every_text_is_said_once_said(text: str) -> None:
    key = text_key(text)
    assert text_key(key) == key
    assert (
        key in said_keys([{"role": "user", "content": f" {text.upper()} "}]) or text.upper().lower() != text
    )


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_near_copies_are_symmetric_and_a_text_is_one_of_itself(text: str, other: str) -> None:
    assert is_near_copy(text, [other]) == is_near_copy(other, [text])
    assert is_near_copy(text, [text]) and not is_near_copy(text, [])


def test_a_change_of_a_word_is_a_near_copy_and_an_answer_is_none() -> None:
    assert is_near_copy("Anyways, how has your day been?", ["yes", "Haha yeah How has your day been?"])
    assert is_near_copy("今天天气真好啊", ["今天天气真好"])
    assert not is_near_copy("What kind of fish do you cook?", ["I cook"])
    assert not is_near_copy("I work at a bank", ["What do you do for work?"])
    assert not is_near_copy("yes " * 1000, ["yes"])
