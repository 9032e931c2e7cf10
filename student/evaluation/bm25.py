"""BM25 by bm25s, and the parameters that each evaluation uses. N texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import bm25s
import numpy as np
from bm25s.stopwords import STOPWORDS_EN
from numpy.typing import NDArray

from teachers.words import search_terms


@dataclass(frozen=True)
class BM25Parameters:
    """The two constants of BM25's term weights."""

    k1: float
    """Saturation: the higher, the more a further occurrence of a word adds."""
    b: float
    """Length normalisation, from 0 (none) to 1 (by the full ratio to the mean length)."""


RESPONSE_BM25 = BM25Parameters(k1=1.5, b=0.75)
"""The defaults of bm25s, for response ranking: no published baseline has other ones there."""
PASSAGE_BM25 = BM25Parameters(k1=0.9, b=0.4)
"""Anserini's for passages, for document search: published baselines on TREC CAsT have the same."""


def bm25_scores(
    texts: Sequence[str], queries: Sequence[str], parameters: BM25Parameters
) -> Iterator[NDArray[np.float32]]:
    """Yield for each query its scores [N] of `texts`; a text without one of the query's words has 0."""
    retriever = bm25s.BM25(k1=parameters.k1, b=parameters.b)
    retriever.index([_terms(text) for text in texts], show_progress=False)

    for query in queries:
        terms = _terms(query)
        yield retriever.get_scores(terms) if terms else np.zeros(len(texts), np.float32)


def _terms(text: str) -> list[str]:
    """Return the terms of a text that are no English stop words, as bm25s has it."""
    return [term for term in search_terms(text) if term not in STOPWORDS_EN]
