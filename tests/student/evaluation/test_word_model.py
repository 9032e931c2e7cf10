"""The unigram model of words, by hand and by its properties."""

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from student.evaluation.word_model import WordModel

_WORDS = st.lists(st.sampled_from("abcdefgh"), max_size=20)


def test_a_known_word_and_an_unknown_one_cost_what_laplace_says() -> None:
    model = WordModel.from_texts(["Good fish", "good night", "GOOD, good!"])  # good 4, fish 1, night 1
    assert model.cross_entropy("good") == pytest.approx(log(10 / 5))
    assert model.cross_entropy("fish xqzv") == pytest.approx((log(10 / 2) + log(10 / 1)) / 2)
    assert model.cross_entropy("?!") == model.cross_entropy("") == model.cross_entropy("xqzv")


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    model = WordModel.from_texts(["你好吗", "今天好"])
    assert model.cross_entropy("你今天好吗") < model.cross_entropy("電車遅延")


def test_one_rare_word_weighs_less_in_a_short_message_and_hardly_in_a_long_one() -> None:
    model = WordModel.from_texts(["good fish", "good night", "good day"])  # good 3, three others 1 each
    assert model.entropy == pytest.approx((4 * log(11 / 4) + 3 * 2 * log(11 / 2) + log(11)) / 11)
    expected = (log(11 / 1) + 2 * model.entropy) / 3
    assert model.shrunk_cross_entropy("xqzv") == pytest.approx(expected)

    many = "xqzv " * 500
    assert model.shrunk_cross_entropy(many) == pytest.approx(model.cross_entropy(many), rel=0.01)


def test_a_rare_word_alone_is_less_strange_than_many_of_it() -> None:
    model = WordModel.from_texts(["i like two weeks of rain", "two good weeks", "good fish", "i like fish"])
    short, long = "rain", "rain " * 9
    assert model.cross_entropy(short) == pytest.approx(model.cross_entropy(long))
    assert model.cross_entropy(short) > model.entropy
    assert model.entropy < model.shrunk_cross_entropy(short) < model.shrunk_cross_entropy(long)


@given(_WORDS, _WORDS)
def test_probabilities_of_all_words_and_the_unknown_one_sum_to_one(
    first: list[str], second: list[str]
) -> None:
    model = WordModel.from_texts([" ".join(first), " ".join(second)])
    model_words = {*first, *second}
    total = sum(exp(-model.cross_entropy(word)) for word in (*model_words, "xqzv"))
    assert total == pytest.approx(1)
