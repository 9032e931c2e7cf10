"""Retrieval metrics by ir-measures, where ties count against the relevant document, and sparsity.

Q queries, in the order of the qrels.
"""

from collections.abc import Mapping
from math import isnan

import ir_measures
import numpy as np
from ir_measures import AP, RR, R, nDCG
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from student.retrieval.trec import Qrels, Run

# Only the best ranks of a run are kept: a relevant document below them counts as missing.
DEPTH = 1000
_AMONG_ALL = {
    "mrr": RR @ DEPTH,
    "recall@1": R @ 1,
    "recall@10": R @ 10,
    "recall@100": R @ 100,
    "ndcg@10": nDCG @ 10,
}
_AMONG_CANDIDATES = {"hits@1/20": R @ 1, "mrr": RR}

# TREC CAsT's and DiSCo's.
_SEARCH = {
    "ndcg@3": nDCG @ 3,
    "mrr": RR @ DEPTH,
    "recall@10": R @ 10,
    "recall@100": R @ 100,
    "map": AP @ DEPTH,
}


def rank_metrics(qrels: Qrels, run: Run) -> dict[str, NDArray[np.float64]]:
    """Return `mrr`, `recall@1/10/100` and `ndcg@10`, each [Q], of a run among all documents."""
    return _by_query(_AMONG_ALL, qrels, run)


def search_metrics(qrels: Qrels, run: Run) -> dict[str, NDArray[np.float64]]:
    """Return `ndcg@3`, `mrr`, `recall@10/100` and `map`, each [Q]; a query that the run lacks has 0."""
    return _by_query(_SEARCH, qrels, run)


def candidate_metrics(qrels: Qrels, run: Run) -> dict[str, NDArray[np.float64]]:
    """Return `hits@1/20` and `mrr`, each [Q], of a run with 20 documents a query, one of them relevant."""
    return _by_query(_AMONG_CANDIDATES, qrels, run)


def sparsity_metrics(contexts: csr_matrix, responses: csr_matrix) -> dict[str, float]:
    """Return how many of D terms are active in contexts [C, D] and responses [N, D], and a score's cost.

    `context_terms` and `response_terms` are means per text. `flops` is the mean number of multiplications
    per (context, response) pair: the sum over terms of the share of contexts times the share of responses
    that have it active (Paria et al. 2020).
    """
    context_shares = contexts.count_nonzero(axis=0) / contexts.shape[0]  # [D]
    response_shares = responses.count_nonzero(axis=0) / responses.shape[0]
    return {
        "context_terms": float(context_shares.sum()),
        "response_terms": float(response_shares.sum()),
        "flops": float(context_shares @ response_shares),
    }


def _by_query(
    measures: Mapping[str, ir_measures.Measure], qrels: Qrels, run: Run
) -> dict[str, NDArray[np.float64]]:
    """Return each measure's values [Q].

    Raises:
        ValueError: a score is NaN, which sorts anywhere.
    """
    pessimistic: dict[str, dict[str, float]] = {}
    for query, scores in run.items():
        if any(map(isnan, scores.values())):
            raise ValueError(f"query {query}: expected scores to rank by, got NaN")
        pessimistic[query] = dict(scores)
        for document, grade in qrels[query].items():
            if grade > 0 and document in scores:
                # trec_eval breaks ties by document id, which has no meaning here.
                score = scores[document]
                pessimistic[query][document] = score - grade * (1e-6 * abs(score) + 1e-9)

    names, values = {}, {}
    for name, measure in measures.items():
        names[measure] = name
        values[name] = np.zeros(len(qrels))
    numbers = {query: number for number, query in enumerate(qrels)}
    plain_qrels = {query: dict(grades) for query, grades in qrels.items()}

    for metric in ir_measures.iter_calc(list(names), plain_qrels, pessimistic):
        values[names[metric.measure]][numbers[metric.query_id]] = metric.value
    return values
