"""Overlap of a written response with the gold one: the measures of SQuAD and CoQA.

Rajpurkar et al. (2016), Reddy et al. (2019).
"""

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def answer_tokens(text: str) -> list[str]:
    """Return the words in lower case, without punctuation and articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def token_f1(response: str, gold_response: str) -> float:
    """Return the harmonic mean of the shares of words that both have; 1 where neither has any."""
    tokens, gold_tokens = answer_tokens(response), answer_tokens(gold_response)
    if not tokens or not gold_tokens:
        return float(tokens == gold_tokens)

    common = (Counter(tokens) & Counter(gold_tokens)).total()
    return 2 * common / (len(tokens) + len(gold_tokens))


def exact_match(response: str, gold_response: str) -> float:
    """Return 1 where the words are the same in the same order, else 0."""
    return float(answer_tokens(response) == answer_tokens(gold_response))
