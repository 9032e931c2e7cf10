from pathlib import Path

import pytest

from serve.flags import FLAGS, flags_of
from serve.review import REPEATED

SERVING = Path(__file__).parents[2] / "docs" / "serving.md"


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("one word", "Hello!"),
        ("long", "so it goes " * 14),
        ("no letters", ":) 12"),
        ("shouting", "I LOVE IT"),
        ("stuttering", "I got a loooooong way to go"),
        ("stuttering", "no No, no"),
        ("URL", "look at https://here.test"),
        ("URL", "it is on Example.com somewhere"),
        ("e-mail", "write to me.too@here.test please"),
        ("phone number", "call +49 (30) 1234 5678 at night"),
        ("phone number", "call 555-1234 at night"),
        ("speaks as a model", "As an AI, I have no weekend"),
    ],
)
def test_a_text_is_flagged(flag: str, text: str) -> None:
    assert flag in flags_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "How was your weekend?",
        "Не знаю, что сказать",
        "I was born in 1987, and it cost 1,000,000 dollars.",
        "It is about the years 1910-1920",
        "OK, so so.",
        "Well... I am the one who said no, no",
        "I work @ home. Com is no word",
    ],
)
def test_a_plain_text_has_no_flag(text: str) -> None:
    assert flags_of(text) == []


def test_each_flag_has_a_name_of_its_own_which_the_docs_explain() -> None:
    names = [REPEATED, *(flag for flag, _ in FLAGS)]
    assert len(names) == len(set(names))

    text = SERVING.read_text()
    assert [name for name in names if f"`{name}`" not in text] == []
