"""How usual a text's words are in a response set: the cross-entropy under a unigram model of its words.

Texts of another domain have a high cross-entropy under a model of this one (Moore and Lewis 2010). One word
at a time is enough to know gibberish, other languages and other topics again; it needs no encoder.

In a message of one or two words a single rare one decides. So the mean is shrunk towards the one that
the model expects, by as much as a fixed number of words weighs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from math import log
from statistics import fmean

from teachers.words import words

PRIOR_WORDS = 2
"""Words of the expected cross-entropy that are added to those of a text."""

_MAX_TEXTS = 100_000  # bounds the words that a replica holds


class WordModel:
    """A unigram model of words with Laplace's smoothing; words are compared without case."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = counts
        # One more of each word, and of one that stands for all that are not among them.
        total = sum(counts.values()) + len(counts) + 1
        self._log_total = log(total)
        self.entropy = self._log_total - sum(count * log(count) for count in self._smoothed()) / total
        """Nats per word that a text of this model's own words has on average"""

    def _smoothed(self) -> Iterator[int]:
        yield 1
        for count in self.counts.values():
            yield count + 1

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> "WordModel":
        """Return the model of the words of `texts`, of the first 100,000."""
        return cls(Counter(word for text in islice(texts, _MAX_TEXTS) for word in words(text.casefold())))

    def cross_entropy(self, text: str) -> float:
        """Return the nats per word of `text`; one without words counts as an unknown word."""
        return fmean(self._nats(text))

    def shrunk_cross_entropy(self, text: str) -> float:
        """Return the same with PRIOR_WORDS further words of the model's entropy."""
        return fmean([*self._nats(text), *[self.entropy] * PRIOR_WORDS])

    def _nats(self, text: str) -> list[float]:
        counts = [self.counts.get(word, 0) + 1 for word in words(text.casefold())] or [1]
        return [self._log_total - log(count) for count in counts]
