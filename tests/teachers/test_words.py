"""Words in any script."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teachers.words import cut_at_word, search_terms, sentence_spans, word_spans, words

TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("a b. 你好，。 ก็ไม่ नमस्ते مرحبا é👍🏽👨\u200d👩 \n"),
    ),
    max_size=60,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I can't go, it's 3.5 km.", ["I", "can't", "go", "it's", "3.5", "km"]),
        ("你好，世界。", ["你", "好", "世", "界"]),
        ("안녕하세요 세계", ["안녕하세요", "세계"]),
        ("हिन्दी में, مرحبا!", ["हिन्दी", "में", "مرحبا"]),
        ("👍🏽 👨‍👩‍👧", ["👍🏽", "👨‍👩‍👧"]),
        ("... — !", []),
        ("", []),
    ],
)
def test_words_of_scripts_with_and_without_spaces(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert [text[start:end] for start, end in word_spans(text)] == expected


def test_a_text_is_cut_where_a_word_ends_and_never_within_a_character() -> None:
    assert cut_at_word("one two three", 8) == cut_at_word("one two three", 7) == "one two"
    assert cut_at_word("abcdefgh", 5) == "abcde"
    assert cut_at_word("short", 5) == "short"
    assert cut_at_word("OK " + "标题" * 50, 20) == "OK " + "标题" * 8 + "标"
    assert cut_at_word("x" * 8 + "👨‍👩‍👧", 10) == "x" * 8


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, limit=st.integers(1, 60))
def test_a_cut_text_is_a_beginning_that_fits_and_keeps_what_it_can(text: str, limit: int) -> None:
    cut = cut_at_word(text, limit)
    assert text.startswith(cut) and len(cut) <= max(limit, 0 if len(text) > limit else len(text))
    if len(text) <= limit:
        assert cut == text


@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_words_stand_in_the_text_in_their_order(text: str) -> None:
    end_before = 0
    for start, end in word_spans(text):
        assert end_before <= start < end
        end_before = end
    assert [text[start:end] for start, end in word_spans(text)] == words(text)


def test_sentences_end_by_the_marks_of_their_script() -> None:
    text = 'It is 3.5 km. "Really?" Yes 你好。很好！ ठीक है। हाँ'
    found_texts = [text[start:end] for start, end in sentence_spans(text)]
    assert found_texts == ["It is 3.5 km.", '"Really?"', "Yes 你好。", "很好！", "ठीक है।", "हाँ"]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("你好世界 and more", ["你好", "好世", "世界", "and", "more"]),
        ("好 a I", ["好"]),
        ("वह बहुत अच्छा है", ["वह", "बहुत", "अच्छा", "है"]),
        ("I don't like 🍕🍕 at 3.5 km", ["don", "like", "🍕", "🍕", "at", "km"]),
        ("Schön!", ["schön"]),
    ],
)
def test_terms_are_words_emoji_and_pairs_of_unspaced_characters(text: str, terms: list[str]) -> None:
    assert search_terms(text) == terms
