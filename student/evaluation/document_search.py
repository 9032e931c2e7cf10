"""Documents for queries, by BM25 and by encoders, and how good what they find is.

Q questions, N documents.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bm25s
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from student.encoders.encoder import EncoderSource, Tally, Vectors, texts_to_vectors
from student.encoders.nearest import nearest
from student.evaluation.metrics import DEPTH, sparsity_metrics
from student.retrieval.pools import pools, queries_of
from student.retrieval.trec import Run
from student.text import context_text
from teachers.dataset import Rows, read_rows

# As Anserini has them for passages, and as others publish them for CAsT.
_K1, _B = 0.9, 0.4

Places = NDArray[np.int64]
Scores = NDArray[np.float32]
Queries = Mapping[str, str]
"""question_id -> what is searched for it; a question that has no such query is left out."""


@dataclass(frozen=True)
class Searched:
    """What one way to search found."""

    run: Run
    sparsity: dict[str, float] = field(default_factory=dict)
    """Of the queries and documents, see `sparsity_metrics`; nothing where they are dense, or words."""


@dataclass(frozen=True)
class Questions:
    """Questions that systems are measured on."""

    conversation_ids: dict[str, str]
    """question_id -> its conversation"""
    qrels: dict[str, dict[str, int]]
    """question_id -> its relevant documents"""
    ignored: dict[str, set[str]]
    """question_id -> documents that a search for it leaves out"""
    asked: dict[str, Queries]
    """`last turn`, `conversation` and, where people rewrote some, `human rewrite`"""
    rewrites: dict[str, Queries]
    """Teacher -> its queries"""

    def of(self, run: Run) -> Run:
        """What another's run has of these questions, without what a search for them leaves out."""
        return {
            question: {
                doc: score for doc, score in run[question].items() if doc not in self.ignored[question]
            }
            for question in self.qrels
            if question in run
        }


def held_out_questions(questions_uri: str, split: str, rewrites: Mapping[str, str]) -> Questions:
    """The questions of a split; `rewrites` maps a teacher to its REWRITES.

    Raises:
        ValueError: there is none.
    """
    teachers = zip(Rows(questions_uri), queries_of(questions_uri, rewrites), strict=True)
    found = [(row, queries) for row, queries in teachers if row["split"] == split]
    if not found:
        raise ValueError(f"questions: no {split} question")
    rows = [row for row, _ in found]
    human = {row["question_id"]: row["rewrite"] for row in rows if row["rewrite"]}
    return Questions(
        conversation_ids={row["question_id"]: row["conversation_id"] for row in rows},
        qrels={row["question_id"]: dict.fromkeys(row["positives"], 1) for row in rows},
        ignored={row["question_id"]: set(row["ignored"]) for row in rows},
        asked={
            "last turn": {row["question_id"]: row["context"][-1]["content"] for row in rows},
            "conversation": conversations(rows, turns=None),
            **({"human rewrite": human} if human else {}),
        },
        rewrites={
            teacher: {
                row["question_id"]: query for row, queries in found if (query := queries[number]) is not None
            }
            for number, teacher in enumerate(rewrites)
        },
    )


def conversations(rows: Iterable[Mapping[str, Any]], turns: int | None) -> Queries:
    """The newest `turns` of each row's context, or all of them, as a student reads them."""
    return {row["question_id"]: context_text(row["context"], turns or len(row["context"])) for row in rows}


def student_queries(questions_uri: str, split: str, turns: int) -> Queries:
    """The questions of a split as a student reads them."""
    return conversations(read_rows(questions_uri, split), turns)


def bm25_runs(documents_uri: str, questions: Questions, asked: Mapping[str, Queries]) -> dict[str, Run]:
    """A run for each kind of query, by BM25 (k1 = 0.9, b = 0.4)."""
    doc_ids = [row["doc_id"] for row in Rows(documents_uri)]
    texts = [row["text"] for row in Rows(documents_uri)]
    retriever = bm25s.BM25(k1=_K1, b=_B)
    retriever.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    depth = _depth(questions, len(doc_ids))
    runs = {}
    for kind, queries in asked.items():
        tokens = bm25s.tokenize(list(queries.values()), return_ids=False, show_progress=False)
        found = (_best(retriever, words, depth) for words in tokens)
        runs[kind] = _run(queries, doc_ids, found, questions)
    return runs


def _best(retriever: bm25s.BM25, words: Sequence[str], k: int) -> tuple[Places, Scores]:
    """The documents that have one of the words, best first."""
    if not words:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    scores = retriever.get_scores(words)
    rows = np.argsort(-scores, kind="stable")[:k]
    rows = rows[scores[rows] > 0]
    return rows, scores[rows]


def encoder_runs(
    doc_ids: Sequence[str],
    documents: Vectors,
    questions: Questions,
    asked: Mapping[str, Queries],
    encoder: EncoderSource,
    tally: Tally,
) -> dict[str, Searched]:
    """What is found with each kind of query, by an encoder, among the documents' vectors [N, D]."""
    texts = [text for queries in asked.values() for text in queries.values()]
    vectors = texts_to_vectors({"context": texts}, encoder, tally)["context"]
    found, place = {}, 0
    for kind, queries in asked.items():
        own = vectors[place : place + len(queries)]
        place += len(queries)
        found[kind] = searched_with(own, doc_ids, documents, questions, queries)
    return found


def searched_with(
    vectors: Vectors,
    doc_ids: Sequence[str],
    documents: Vectors,
    questions: Questions,
    queries: Iterable[str],
) -> Searched:
    """What is found with the vectors [Q, D] of `queries`, question ids, among the documents' [N, D]."""
    found = nearest(vectors, documents, _depth(questions, len(doc_ids)))
    sparsity = sparsity_metrics(vectors, documents) if isinstance(vectors, csr_matrix) else {}
    return Searched(_run(queries, doc_ids, found, questions), sparsity)


def mean_run(
    doc_ids: Sequence[str],
    documents: Vectors,
    questions: Questions,
    encoder: EncoderSource,
    depth: int,
    tally: Tally,
) -> Run:
    """What the teachers find together: their pools, ranked by the mean of all their scores."""
    queries = [[of.get(question) for of in questions.rewrites.values()] for question in questions.qrels]
    nothing: list[list[int]] = [[] for _ in queries]
    found = pools(queries, nothing, documents, encoder, depth, tally)
    places = ((pool.documents, pool.mean) for pool in found)
    return _run(dict.fromkeys(questions.qrels, ""), doc_ids, places, questions)


def _depth(questions: Questions, num_documents: int) -> int:
    """So many that, without those that are left out, enough remain."""
    return min(num_documents, DEPTH + max(map(len, questions.ignored.values()), default=0))


def _run(
    queries: Iterable[str],
    doc_ids: Sequence[str],
    found: Iterable[tuple[Places, Scores]],
    questions: Questions,
) -> Run:
    """The documents that were found for each of `queries`, without those that a question leaves out.

    Takes as many of `found` as there are queries.
    """
    run, places = {}, iter(found)
    for question_id in queries:
        rows, scores = next(places)
        ignored = questions.ignored[question_id]
        best = [
            (doc_ids[row], float(score))
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
            if row >= 0 and doc_ids[row] not in ignored
        ]
        run[question_id] = dict(best[:DEPTH])
    return run
