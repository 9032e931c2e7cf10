"""Document search by BM25 and by encoders, for the questions of one split.

Q questions, N documents, D dimensions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from student.encoders.embedding import Tally, texts_to_vectors
from student.encoders.encoder import EncoderSource, Vectors
from student.encoders.nearest import Ranking, nearest
from student.evaluation.bm25 import PASSAGE_BM25, bm25_scores
from student.evaluation.metrics import DEPTH, sparsity_metrics
from student.retrieval.pools import EncodedDocuments, pools, queries_by_teacher
from student.retrieval.trec import Run
from student.text import context_text
from teachers.dataset import Rows, read_rows

Queries = Mapping[str, str]
"""question_id -> its query; questions without such a query are absent."""


@dataclass(frozen=True)
class SearchResult:
    """One system's run, and how sparse its vectors are."""

    run: Run
    sparsity: dict[str, float] = field(default_factory=dict)
    """Of the queries and documents, see `sparsity_metrics`; empty where vectors are dense, or none."""


@dataclass(frozen=True)
class Questions:
    """Questions that systems are measured on."""

    conversation_ids: dict[str, str]
    """question_id -> its conversation"""
    qrels: dict[str, dict[str, int]]
    """question_id -> its relevant documents and their grades"""
    ignored: dict[str, set[str]]
    """question_id -> documents that are removed from its ranking"""
    queries: dict[str, Queries]
    """`last turn`, `conversation` and, where there are human rewrites, `human rewrite`"""
    rewrites: dict[str, Queries]
    """Teacher -> its queries"""

    def restrict(self, run: Run) -> Run:
        """Return the part of another system's run that is on these questions, without ignored documents."""
        restricted = {}
        for question_id in self.qrels:
            if question_id in run:
                ignored = self.ignored[question_id]
                scores = run[question_id].items()
                restricted[question_id] = {doc_id: score for doc_id, score in scores if doc_id not in ignored}
        return restricted


def held_out_questions(questions_uri: str, split: str, rewrites: Mapping[str, str]) -> Questions:
    """Return the questions of a split; `rewrites` maps a teacher to its REWRITES.

    Raises:
        ValueError: the split has no question.
    """
    rows: list[dict[str, Any]] = []
    human_rewrites: dict[str, str] = {}
    teacher_queries: dict[str, dict[str, str]] = {teacher: {} for teacher in rewrites}
    for row, queries in zip(Rows(questions_uri), queries_by_teacher(questions_uri, rewrites), strict=True):
        if row["split"] != split:
            continue
        rows.append(row)
        if row["rewrite"]:
            human_rewrites[row["question_id"]] = row["rewrite"]
        for teacher, query in zip(rewrites, queries, strict=True):
            if query is not None:
                teacher_queries[teacher][row["question_id"]] = query
    if not rows:
        raise ValueError(f"{questions_uri}: expected questions of the split {split}, got none")

    questions = Questions({}, {}, {}, {}, dict(teacher_queries))
    last_turns: dict[str, str] = {}
    for row in rows:
        question_id = row["question_id"]
        questions.conversation_ids[question_id] = row["conversation_id"]
        grades = row["grades"] or [1] * len(row["positives"])
        questions.qrels[question_id] = dict(zip(row["positives"], grades, strict=True))
        questions.ignored[question_id] = set(row["ignored"])
        last_turns[question_id] = row["context"][-1]["content"]

    questions.queries["last turn"] = last_turns
    questions.queries["conversation"] = conversation_queries(rows, turns=None)
    if human_rewrites:
        questions.queries["human rewrite"] = human_rewrites
    return questions


def response_questions(
    questions: Questions,
    rows: Iterable[Mapping[str, Any]],
    responses: Iterable[Mapping[str, Any]],
    as_turn: Callable[[str], str],
) -> Questions:
    """Return the questions with a gold response, which is their one relevant document.

    Earlier responses of a question's conversation are ignored: its context has their words. `rows` are of
    QUESTIONS, `responses` of DOCUMENTS. `as_turn` shortens a response just as the turns of contexts are.
    """
    doc_ids = {row["text"]: row["doc_id"] for row in responses}
    doc_ids_by_turn: dict[str, str] = {}
    for text, doc_id in doc_ids.items():
        doc_ids_by_turn[as_turn(text)] = doc_id

    qrels, ignored = {}, {}
    for row in rows:
        if not row["gold_response"]:
            continue
        gold_id = doc_ids[row["gold_response"]]
        earlier: set[str] = set()
        for turn in row["context"]:
            if turn["content"] in doc_ids_by_turn:
                earlier.add(doc_ids_by_turn[turn["content"]])
        qrels[row["question_id"]] = {gold_id: 1}
        ignored[row["question_id"]] = earlier - {gold_id}

    return replace(questions, qrels=qrels, ignored=ignored)


def conversation_queries(rows: Iterable[Mapping[str, Any]], turns: int | None) -> Queries:
    """Return the newest `turns` of each row's context, or all of them, as a student reads them."""
    return {row["question_id"]: context_text(row["context"], turns or len(row["context"])) for row in rows}


def student_queries(questions_uri: str, split: str, turns: int) -> Queries:
    """Return the questions of a split as a student reads them."""
    return conversation_queries(read_rows(questions_uri, split), turns)


def bm25_runs(documents_uri: str, questions: Questions, query_kinds: Mapping[str, Queries]) -> dict[str, Run]:
    """Return a BM25 run for each kind of query."""
    doc_ids, texts = [], []
    for row in Rows(documents_uri):
        doc_ids.append(row["doc_id"])
        texts.append(row["text"])
    depth = _search_depth(questions, len(doc_ids))

    scores = bm25_scores(texts, _texts_of(query_kinds), PASSAGE_BM25)
    best_matches = partial(_best_matches, k=depth)
    runs = {}
    for kind, queries in query_kinds.items():
        rankings = map(best_matches, islice(scores, len(queries)))
        runs[kind] = _as_run(queries, doc_ids, rankings, questions)
    return runs


def _texts_of(query_kinds: Mapping[str, Queries]) -> list[str]:
    texts: list[str] = []
    for queries in query_kinds.values():
        texts.extend(queries.values())
    return texts


def _best_matches(scores: NDArray[np.float32], k: int) -> Ranking:
    """Return the `k` best documents of those that share a word with the query."""
    rows = np.argsort(-scores, kind="stable")[:k]
    rows = rows[scores[rows] > 0]
    return rows, scores[rows]


def encoder_runs(
    doc_ids: Sequence[str],
    documents: Vectors,
    questions: Questions,
    query_kinds: Mapping[str, Queries],
    encoder: EncoderSource,
    tally: Tally,
) -> dict[str, SearchResult]:
    """Return for each kind of query an encoder's result among the documents' vectors [N, D]."""
    vectors = texts_to_vectors({"context": _texts_of(query_kinds)}, encoder, tally)["context"]

    results, start = {}, 0
    for kind, queries in query_kinds.items():
        kind_vectors = vectors[start : start + len(queries)]
        start += len(queries)
        results[kind] = search_by_vectors(kind_vectors, doc_ids, documents, questions, queries)
    return results


def search_by_vectors(
    vectors: Vectors,
    doc_ids: Sequence[str],
    documents: Vectors,
    questions: Questions,
    question_ids: Iterable[str],
) -> SearchResult:
    """Return the result of query vectors [Q, D], in the order of `question_ids`, among documents' [N, D]."""
    rankings = nearest(vectors, documents, _search_depth(questions, len(doc_ids)))
    sparsity = sparsity_metrics(vectors, documents) if isinstance(vectors, csr_matrix) else {}
    return SearchResult(_as_run(question_ids, doc_ids, rankings, questions), sparsity)


def mean_run(
    doc_ids: Sequence[str], documents: EncodedDocuments, questions: Questions, depth: int, tally: Tally
) -> Run:
    """Return the run of all teachers together: their pools, ranked by the mean of their scores."""
    queries = []
    for question_id in questions.qrels:
        queries.append([rewrites.get(question_id) for rewrites in questions.rewrites.values()])
    relevant: list[list[int]] = [[] for _ in queries]

    question_pools = pools(queries, relevant, documents, depth, tally)
    rankings = ((pool.documents, pool.mean) for pool in question_pools)
    return _as_run(questions.qrels, doc_ids, rankings, questions)


def _search_depth(questions: Questions, num_documents: int) -> int:
    """Return how many documents to retrieve, so that DEPTH remain without the ignored ones."""
    return min(num_documents, DEPTH + max(map(len, questions.ignored.values()), default=0))


def _as_run(
    question_ids: Iterable[str],
    doc_ids: Sequence[str],
    rankings: Iterable[Ranking],
    questions: Questions,
) -> Run:
    """Return the rankings, one for each question, as a run without ignored documents."""
    run: dict[str, dict[str, float]] = {}
    for question_id, (rows, scores) in zip(question_ids, rankings, strict=True):
        ignored = questions.ignored[question_id]
        best: dict[str, float] = {}
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
            if row >= 0 and doc_ids[row] not in ignored and len(best) < DEPTH:
                best[doc_ids[row]] = float(score)
        run[question_id] = best
    return run
