"""Retrieval metrics, all by ir-measures: documents that tie count against the right one. And sparsity.

Q queries, in the order of the qrels.
"""

from collections.abc import Mapping

import ir_measures
import numpy as np
from ir_measures import AP, RR, R, nDCG
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from student.retrieval.trec import Qrels, Run

# Only the best ranks of a run are kept: a right document that is not among them counts as not found.
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
    """`mrr`, `recall@1/10/100` and `ndcg@10` [Q] of a run: query -> document -> score."""
    return _by_query(_AMONG_ALL, qrels, run)


def search_metrics(qrels: Qrels, run: Run) -> dict[str, NDArray[np.float64]]:
    """`ndcg@3`, `mrr`, `recall@10/100` and `map` [Q] of a run; a query of which it knows nothing has 0."""
    return _by_query(_SEARCH, qrels, run)


def candidate_metrics(qrels: Qrels, run: Run) -> dict[str, NDArray[np.float64]]:
    """`hits@1/20` and `mrr` [Q] of a run in which every query has 20 documents, one of them right."""
    return _by_query(_AMONG_CANDIDATES, qrels, run)


def sparsity_metrics(contexts: csr_matrix, responses: csr_matrix) -> dict[str, float]:
    """How many of D terms are active in contexts [C, D] and responses [N, D], and what a score costs.

    `context_terms` and `response_terms` are means per text. `flops` is the mean number of multiplications
    per (context, response) pair: the sum over terms of the share of contexts times the share of responses
    that have it active (Paria et al. 2020).
    """
    of_contexts = contexts.count_nonzero(axis=0) / contexts.shape[0]  # [D]
    of_responses = responses.count_nonzero(axis=0) / responses.shape[0]
    return {
        "context_terms": float(of_contexts.sum()),
        "response_terms": float(of_responses.sum()),
        "flops": float(of_contexts @ of_responses),
    }


def _by_query(
    measures: Mapping[str, ir_measures.Measure], qrels: Qrels, run: Run
) -> dict[str, NDArray[np.float64]]:
    pessimistic = {
        query: {
            # trec_eval breaks ties by document id, which says nothing here.
            document: score - 1e-6 * abs(score) - 1e-9 if qrels[query].get(document) else score
            for document, score in documents.items()
        }
        for query, documents in run.items()
    }
    names = {measure: name for name, measure in measures.items()}
    row = {query: number for number, query in enumerate(qrels)}
    values = {name: np.zeros(len(qrels)) for name in measures}
    found = ir_measures.iter_calc(list(names), {k: dict(v) for k, v in qrels.items()}, pessimistic)
    for metric in found:
        values[names[metric.measure]][row[metric.query_id]] = metric.value
    return values
