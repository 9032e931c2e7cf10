"""Diversity and length against numbers worked by hand."""

import pytest

from student.evaluation.diversity import distinct_n, num_words


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, 4 / 7),  # the, cat, sat, ran; of seven words
        (2, 3 / 4),  # the cat, cat sat, cat ran; "the cat" is there twice
        (3, 2 / 2),  # the cat sat, the cat ran
        (4, 0.0),  # no text has four words
    ],
)
def test_ngrams_are_counted_over_all_texts_but_not_across_them(n: int, expected: float) -> None:
    assert distinct_n(["The cat sat.", "the cat ran", "cat"], n) == pytest.approx(expected)


def test_a_text_said_k_times_has_a_kth_of_its_diversity() -> None:
    text = "so many different words here"
    for n in (1, 2, 3):
        assert distinct_n([text], n) == 1.0
        assert distinct_n([text] * 4, n) == pytest.approx(1 / 4)


def test_case_and_punctuation_make_no_new_word_and_an_apostrophe_no_second_one() -> None:
    texts = ["Don't!", "don't …", "(DON'T)"]
    assert distinct_n(texts, 1) == pytest.approx(1 / 3)
    assert [num_words(text) for text in texts] == [1, 1, 1]


def test_without_words_there_is_no_diversity() -> None:
    for texts in ([], [""], ["?!", "..."]):
        assert distinct_n(texts, 1) == 0.0
        assert [num_words(text) for text in texts] == [0] * len(texts)


def test_length_is_the_number_of_words() -> None:
    assert [num_words(text) for text in ("one two three", "", "four, five; six")] == [3, 0, 3]
