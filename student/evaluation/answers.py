"""How near a written answer is to a person's: the measures of SQuAD (Rajpurkar et al., 2016) and CoQA."""

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def answer_tokens(text: str) -> list[str]:
    """Words in lower case, without punctuation and articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def token_f1(answer: str, reply: str) -> float:
    """Harmonic mean of the shares of words that both have; 1 where neither has any."""
    own, wanted = answer_tokens(answer), answer_tokens(reply)
    if not own or not wanted:
        return float(own == wanted)
    common = (Counter(own) & Counter(wanted)).total()
    return 2 * common / (len(own) + len(wanted))


def exact_match(answer: str, reply: str) -> float:
    """1 where the words are the same in the same order."""
    return float(answer_tokens(answer) == answer_tokens(reply))
