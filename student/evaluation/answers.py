"""Overlap of a written response with the gold one: the measures of SQuAD and CoQA.

Rajpurkar et al. (2016), Reddy et al. (2019).
"""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from student.evaluation.statistics import Values, interval, paired_difference

MAIN_MEASURE = "token F1"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def measure_answers(
    rows: Sequence[Mapping[str, Any]], answers: Mapping[str, Sequence[str]], baseline: str
) -> dict[str, Any]:
    """Return `questions`, `conversations` and by system its `metrics` and `against`, with intervals as dicts.

    `rows` are of EXAMPLES, `answers` each system's to them. `against` is the difference from the
    `baseline`, a system, in token F1.
    """
    groups = [row["conversation_id"] for row in rows]
    gold_responses = [row["gold_response"] for row in rows]
    values = {name: _values(texts, gold_responses) for name, texts in answers.items()}
    baseline_values = values[baseline][MAIN_MEASURE]

    systems = {}
    for name, by_measure in values.items():
        metrics, against = {}, {}
        for measure, measured in by_measure.items():
            metrics[measure] = vars(interval(measured, groups))
        if name != baseline:
            against[baseline] = vars(paired_difference(baseline_values, by_measure[MAIN_MEASURE], groups))
        systems[name] = {"metrics": metrics, "against": against}
    return {"questions": len(rows), "conversations": len(set(groups)), "systems": systems}


def _values(answers: Sequence[str], gold_responses: Sequence[str]) -> dict[str, Values]:
    """Return the values [1, C] of each measure."""
    assert len(answers) == len(gold_responses)
    return {
        MAIN_MEASURE: np.array([list(map(token_f1, answers, gold_responses))]),
        "exact match": np.array([list(map(exact_match, answers, gold_responses))]),
    }


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
