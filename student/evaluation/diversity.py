"""Diversity and length of texts: n-grams, self-BLEU, and the distances of their embeddings."""

import random
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import sacrebleu

from student.encoders.embedding import Tally, texts_to_vectors
from student.encoders.encoder import EncoderSource, Vectors

# A run of letters and digits with the apostrophes inside it: "don't" is one word, punctuation is none.
_WORD = re.compile(r"\w+(?:['’]\w+)*")
# Self-BLEU compares each text with all others, and repeats grow with the number of texts.
_MAX_COMPARED = 300


def measure_diversity(texts: Sequence[str], source: EncoderSource, tally: Tally) -> dict[str, float]:
    """Return the mean length, distinct-1 and -2 of all `texts`; self-BLEU and spread of a sample.

    Self-BLEU compares each with all others (Zhu et al., 2018), from 0 to 1; lower is more varied. The spread
    is the mean cosine distance of their embeddings by `source`.
    """
    sample = random.Random(0).sample(list(texts), min(_MAX_COMPARED, len(texts)))
    vectors = texts_to_vectors({"response": sample}, source, tally)["response"]
    return {
        "words": sum(map(num_words, texts)) / len(texts),
        "distinct_1": distinct_n(texts, 1),
        "distinct_2": distinct_n(texts, 2),
        "self_bleu": self_bleu(sample),
        "spread": mean_distance(vectors),
    }


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Return the distinct n-grams over all n-grams of words, of all `texts` together; 0 where there is none.

    Words are lower-cased, and no n-gram spans two texts. After Li et al. (2016), who divide by the number
    of words: by that of n-grams, texts that never repeat one have 1 for every `n`. The more text, the
    more repeats, so compare systems on equally many texts. It has no bootstrap interval: a resample repeats
    texts, which is what is measured.
    """
    assert n >= 1
    ngrams: list[tuple[str, ...]] = []
    for text in texts:
        ngrams.extend(_ngrams(_words(text), n))
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def num_words(text: str) -> int:
    """Return the number of words of a text, as `distinct_n` counts them."""
    return len(_words(text))


def self_bleu(texts: Sequence[str]) -> float:
    """Return the mean BLEU of each text with all others as its references; 0 for fewer than two."""
    if len(texts) < 2:
        return 0.0
    scores: list[float] = []
    for place, text in enumerate(texts):
        others = [*texts[:place], *texts[place + 1 :]]
        scores.append(sacrebleu.sentence_bleu(text, others).score)
    return float(sum(scores)) / len(scores) / 100


def mean_distance(vectors: Vectors) -> float:
    """Return 1 minus the mean cosine of all pairs of unit vectors [N, D]; 0 for fewer than two."""
    count = len(vectors)
    if count < 2:
        return 0.0
    total = np.asarray(vectors, np.float64).sum(axis=0)
    return float(1 - (total @ total - count) / (count * (count - 1)))


def reservoir_sample(texts: Iterable[str], limit: int) -> tuple[list[str], int]:
    """Return up to `limit` of the texts, each as likely as any other, and the number of all."""
    generator, count = random.Random(0), 0
    sample: list[str] = []
    for count, text in enumerate(texts, start=1):
        if len(sample) < limit:
            sample.append(text)
            continue
        place = generator.randrange(count)
        if place < limit:
            sample[place] = text
    return sample, count


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _ngrams(words: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False)
