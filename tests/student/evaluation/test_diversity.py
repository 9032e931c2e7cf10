"""Diversity and length against numbers worked by hand."""

from collections import Counter

import numpy as np
import pytest

from student.evaluation.diversity import distinct_n, mean_distance, num_words, reservoir_sample, self_bleu


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


def test_k_copies_of_a_text_have_a_kth_of_its_distinct_n() -> None:
    text = "so many different words here"
    for n in (1, 2, 3):
        assert distinct_n([text], n) == 1.0
        assert distinct_n([text] * 4, n) == pytest.approx(1 / 4)


def test_words_ignore_case_and_punctuation_and_include_apostrophes() -> None:
    texts = ["Don't!", "don't …", "(DON'T)"]
    assert distinct_n(texts, 1) == pytest.approx(1 / 3)
    assert [num_words(text) for text in texts] == [1, 1, 1]


def test_distinct_n_without_words_is_0() -> None:
    for texts in ([], [""], ["?!", "..."]):
        assert distinct_n(texts, 1) == 0.0
        assert [num_words(text) for text in texts] == [0] * len(texts)


def test_length_is_the_number_of_words() -> None:
    assert [num_words(text) for text in ("one two three", "", "four, five; six")] == [3, 0, 3]


def test_a_reservoir_sample_draws_each_text_with_the_same_probability() -> None:
    texts = [str(number) for number in range(2000)]
    assert reservoir_sample(iter(texts), 2000) == (texts, 2000)
    sample, count = reservoir_sample(iter(texts), 500)
    assert count == 2000 and len(set(sample)) == 500
    by_quarter = Counter(int(text) // 500 for text in sample)
    assert all(90 < by_quarter[quarter] < 160 for quarter in range(4))
    assert reservoir_sample(iter([]), 5) == ([], 0)


def test_the_mean_distance_is_over_all_pairs() -> None:
    assert mean_distance(np.ones((1, 1), np.float32)) == 0
    # Cosines of the three pairs: 0, 0 and 1.
    assert mean_distance(np.array([[1, 0], [1, 0], [0, 1]], np.float32)) == pytest.approx(2 / 3)


def test_self_bleu_is_1_for_equal_texts_and_0_for_disjoint_or_lone_ones() -> None:
    assert self_bleu(["owls eat voles at night"] * 3) == pytest.approx(1)
    assert self_bleu(["owls eat voles at night", "bats sleep all day long"]) == pytest.approx(0, abs=0.05)
    assert self_bleu(["owls eat voles at night"]) == 0
