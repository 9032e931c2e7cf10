"""Keyboard spam: words that a hand on the keyboard explains better than the words of a corpus do.

A word's letters have a probability under two models. One has learned from the corpus which letters follow
each other, in whatever language it is. The other hits keys at random: mostly of the home row, and often the
neighbour of the key before. Words that many texts have, such as "lol", are not judged, and neither are words
with letters that the corpus hardly has or that are not on the keyboard.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from math import log2

# A word that as many texts have is one, and teaches the model.
_COMMON = 3
# Of letters that occur less often the model knows too little.
_MIN_OCCURRENCES = 10
_ORDER = 4
# Evidence for the keyboard, in bits: of each letter, so that long foreign words do not add up, and of a text.
# Of chitchat-dataset's 107,015 training responses this drops 0.03 %.
_MIN_BITS_PER_LETTER = 2.5
_MIN_BITS = 25.0

_WORD = re.compile(r"[^\W\d_]+")
_MAX_ACRONYM = 5
# "noooo" and "hahahaha" are "no" and "ha".
_STRETCHED = re.compile(r"([^\W\d_]{1,2}?)\1{2,}", re.IGNORECASE)

_HOME_ROW = "asdfghjkl"
_ROWS = ("qwertyuiop", _HOME_ROW, "zxcvbnm")
_HOME_SHARE = 0.7
_NEIGHBOUR_SHARE = 0.5


class KeyboardSpam:
    """Detector of keyboard spam among the texts that it is fitted on, and others like them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._num_texts: Counter[str] = Counter()
        for text in texts:
            self._num_texts.update(set(_words(text)))

        self._letters = _LetterModel(word for word, count in self._num_texts.items() if count >= _COMMON)

    def __contains__(self, text: str) -> bool:
        return self.bits(text) >= _MIN_BITS

    def bits(self, text: str) -> float:
        """Return the evidence that `text` is keyboard spam: the sum over its words."""
        return sum(self._bits_of_word(word) for word in _words(text))

    def _bits_of_word(self, word: str) -> float:
        is_judged = len(word) >= 3 and self._num_texts[word] < _COMMON
        if not is_judged or not self._letters.knows(word) or not _NEIGHBOURS.keys() >= set(word):
            return 0.0

        bits, padded = 0.0, _padded(word)
        for history, letter in _steps(padded[:-1]):
            bits += log2(_typed(history[-1], letter) / self._letters.probability(history, letter))
        return bits if bits >= _MIN_BITS_PER_LETTER * len(word) else 0.0


class _LetterModel:
    """Probability of the next letter by the ones before, smoothed by Witten and Bell (1991)'s method C."""

    def __init__(self, words: Iterable[str]) -> None:
        self._followers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for word in words:
            for history, letter in _steps(_padded(word)):
                for start in range(_ORDER):
                    self._followers[history[start:]][letter] += 1
        self._totals = {history: followers.total() for history, followers in self._followers.items()}

    def knows(self, word: str) -> bool:
        """Whether every letter of `word` is frequent enough."""
        occurrences = self._followers[""]
        return min(occurrences[letter] for letter in word) >= _MIN_OCCURRENCES

    def probability(self, history: str, letter: str) -> float:
        """Return the probability of `letter` after `history`, the up to three letters before it."""
        if not history:
            return self._followers[""][letter] / self._totals[""]

        shorter = self.probability(history[1:], letter)
        if history not in self._totals:
            return shorter
        followers = self._followers[history]
        return (followers[letter] + len(followers) * shorter) / (self._totals[history] + len(followers))


def _words(text: str) -> Iterator[str]:
    for word in _WORD.findall(_STRETCHED.sub(r"\1", text)):
        if not (word.isupper() and len(word) <= _MAX_ACRONYM):
            yield word.casefold()


def _padded(word: str) -> str:
    return " " * (_ORDER - 1) + word + " "


def _steps(padded: str) -> Iterator[tuple[str, str]]:
    """Yield (letters before, letter) of a padded word."""
    for place in range(_ORDER - 1, len(padded)):
        yield padded[place - _ORDER + 1 : place], padded[place]


def _neighbours() -> dict[str, str]:
    neighbours = {}
    for row in _ROWS:
        for place, key in enumerate(row):
            neighbours[key] = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
    return neighbours


_NEIGHBOURS = _neighbours()


def _typed(previous: str, key: str) -> float:
    """Return the probability of hitting `key` after `previous`, which is a space before the first one."""
    num_others = len(_NEIGHBOURS) - len(_HOME_ROW)
    anywhere = _HOME_SHARE / len(_HOME_ROW) if key in _HOME_ROW else (1 - _HOME_SHARE) / num_others

    neighbours = _NEIGHBOURS.get(previous)
    if neighbours is None:
        return anywhere
    nearby = 1 / len(neighbours) if key in neighbours else 0.0
    return (1 - _NEIGHBOUR_SHARE) * anywhere + _NEIGHBOUR_SHARE * nearby
