"""How varied and how long the texts are that a system answers with."""

import re
from collections.abc import Iterator, Sequence

# A run of letters and digits with the apostrophes inside it: "don't" is one word, punctuation is none.
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams of words over all n-grams, of all `texts` together; 0 where there is none.

    Words are lower-cased, and no n-gram spans two texts. After Li et al. (2016), who divide by the number
    of words: by that of n-grams, texts that never repeat one have 1 for every `n`. The more text, the
    more repeats, so compare systems on equally many texts. It has no bootstrap interval: a resample repeats
    texts, which is what is measured.
    """
    assert n >= 1
    ngrams = [ngram for text in texts for ngram in _ngrams(_words(text), n)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def num_words(text: str) -> int:
    """Words of a text, as `distinct_n` counts them."""
    return len(_words(text))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _ngrams(words: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False)
