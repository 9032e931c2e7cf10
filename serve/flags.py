"""Flags of responses that a reviewer should look at, as one list of names and conditions.

They judge a text alone and only point at it: nothing is dropped, see `teachers.generation.filters` for that.
"""

import re
from collections.abc import Callable

from teachers.words import words

_LONG_WORDS = 40
_LINK = re.compile(r"https?://|\bwww\.|\b[a-z0-9-]+\.(?:com|org|net|io|edu|gov)\b", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.\w")
# Nine digits, in groups or not, or a local number: years and prices have fewer.
_PHONE = re.compile(r"(?<!\w)(?:\+?\(?(?:\d[ ().-]{0,2}){8,}\d|\d{3}[ .-]\d{4})(?!\w)")
_MODEL = re.compile(r"\b(?:as an? (?:ai|artificial)|language model|ai assistant)\b", re.IGNORECASE)
# A letter five times in a row, or a word three times.
_STUTTER = re.compile(r"([^\W\d_])\1{4}|\b(\w+)(?:\W+\2\b){2}", re.IGNORECASE)


def is_long(text: str) -> bool:
    """Whether the text has more than 40 words."""
    return len(words(text)) > _LONG_WORDS


def is_one_word(text: str) -> bool:
    """Whether the text has one word at most."""
    return len(words(text)) <= 1


def has_no_letter(text: str) -> bool:
    """Whether no character of the text is a letter of any script."""
    return not any(map(str.isalpha, text))


def is_shouted(text: str) -> bool:
    """Whether all of at least six letters are capitals."""
    letters = [character for character in text if character.isalpha()]
    return len(letters) >= 6 and text.isupper()


FLAGS: list[tuple[str, Callable[[str], object]]] = [
    ("one word", is_one_word),
    ("long", is_long),
    ("no letters", has_no_letter),
    ("shouting", is_shouted),
    ("stuttering", _STUTTER.search),
    ("URL", _LINK.search),
    ("e-mail", _EMAIL.search),
    ("phone number", _PHONE.search),
    ("speaks as a model", _MODEL.search),
]
"""(flag, condition): a text has the flag where the condition is true."""


def flags_of(text: str) -> list[str]:
    """The names of a text's flags."""
    return [flag for flag, condition in FLAGS if condition(text)]
