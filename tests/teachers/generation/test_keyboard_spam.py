import pytest

from teachers.generation.keyboard_spam import KeyboardSpam


@pytest.mark.parametrize(
    "text",
    [
        "heelo? hlep me please ]asdff[ohiasdhf",
        "asdkjh qwe",
        "sdfaslkdjfksfslkdfj",
        "wait what lkjhgfdsa ok",
        "qwertyuiop",
        "ASDFGHJKL",
        "dfgdfgdfg",
        "zxcvb mnbvc",
    ],
)
def test_hands_on_the_keyboard_are_spam(english: list[str], text: str) -> None:
    assert text in KeyboardSpam([*english, text])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lol",
        "hahaha",
        "HAHAHAHAHAHAHA",
        "jajajajaja",
        "hmmm",
        "omg",
        "noooooooo",
        "wtf brb idk",
        "👍🎉",
        "alaska has salad, glass and flags",
        "hlep teh wrold",
        "HGTV and KFC",
        "estoy bien, gracias",
        "Keine Ahnung, ich bin gerade erst aufgestanden",
        "Wszystkiego najlepszego, przyjaciele",
        "čtvrtek odpoledne",
        "hyvää huomenta, mitä kuuluu",
        "merhaba, nasılsın",
        "я тоже очень люблю музыку",
        "我也很喜欢音乐",
        "안녕하세요 ㅋㅋㅋㅋ",
    ],
)
def test_ordinary_texts_of_any_language_are_kept(english: list[str], text: str) -> None:
    assert text not in KeyboardSpam([*english, text])


def test_hardly_any_ordinary_line_is_spam(english: list[str]) -> None:
    spam = KeyboardSpam(english)
    assert sum(line in spam for line in english) < 0.005 * len(english)


def test_a_word_of_three_texts_is_no_spam(english: list[str]) -> None:
    word = "sdkjfhsdkf"
    assert word in KeyboardSpam([*english, *[word] * 2])
    assert word not in KeyboardSpam([*english, *[word] * 3])


@pytest.mark.parametrize("num_texts", [0, 1, 30])
def test_a_few_texts_teach_too_little_to_call_a_text_spam(english: list[str], num_texts: int) -> None:
    texts = [line for line in english if len(line) > 40][:num_texts]
    spam = KeyboardSpam(texts)
    assert not [line for line in english if line in spam]
