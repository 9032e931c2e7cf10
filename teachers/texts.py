"""Comparison of texts: when two count as the same, and what a conversation has already said.

A response that repeats its conversation is called an echo (Fedorenko et al. 2017, arXiv 1712.05626). What a
conversation has said is no candidate to rank, to score, to learn as right or to answer.
"""

import hashlib
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache

# Of 2,000 responses of chitchat-dataset 0.7 % are near copies of one of the four turns before them. Of the
# responses that untrained all-MiniLM-L6-v2 finds nearest to the same contexts, 6.2 % are.
_NEAR_COPY = 0.6
_GRAM = 3


def text_key(text: str) -> str:
    """Return the key of a text, equal for texts that differ in case, punctuation or white space only.

    Emoji and signs such as + count; a text of punctuation alone is its own key.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = folded.translate(_punctuation_as_space()).split()
    return " ".join(words or folded.split())


def response_id(text: str) -> str:
    """Return 16 hexadecimal digits of a text, equal for texts that differ in white space only."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:16]


def said_keys(messages: Iterable[Mapping[str, str]]) -> frozenset[str]:
    """Return the keys of a conversation's turns; a response with such a key has already been said."""
    return frozenset(text_key(message["content"]) for message in messages)


def is_near_copy(text: str, turns: Iterable[str]) -> bool:
    """Return whether a text says nearly the same as one of `turns`: their character trigrams' Dice is 0.6.

    Trigrams of characters, unlike words, exist in every script.
    """
    return any(_dice(text, turn) >= _NEAR_COPY for turn in turns)


def _dice(text: str, other: str) -> float:
    shorter, longer = sorted((len(text), len(other)))
    # A much longer text, such as a document, cannot be similar; its spaces and marks may be three in four.
    if longer > 4 * max(shorter, _GRAM) * (2 - _NEAR_COPY) / _NEAR_COPY:
        return 0.0

    trigrams, others = _trigrams(text), _trigrams(other)
    return 2 * (trigrams & others).total() / (trigrams.total() + others.total())


@lru_cache(maxsize=4096)  # a turn is compared with every response that is retrieved
def _trigrams(text: str) -> Counter[str]:
    padded = f" {text_key(text)} "
    return Counter(padded[start : start + _GRAM] for start in range(max(1, len(padded) - _GRAM + 1)))


@cache
def _punctuation_as_space() -> dict[int, str]:
    """The translation of every punctuation mark to a space; a tenth of a second to make."""
    marks = (code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P"))
    return dict.fromkeys(marks, " ")
