"""Pools of documents: what teachers retrieve with their queries, and each teacher's scores of all of it.

Q questions, T teachers, N documents, P documents of one question's pool, K candidates, D dimensions.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from student.config import PoolsConfig
from student.encoders.embedding import Tally, texts_to_vectors
from student.encoders.encoder import EncoderSource, Vectors, inner_products
from student.encoders.nearest import Ranking, nearest
from student.retrieval.trec import Run
from teachers.dataset import AlignedReader, Rows, rows_to
from teachers.records import CANDIDATES, SCORES

DocumentScores = Mapping[int, float]
"""Row of DOCUMENTS -> a run's score of it for one question"""


@dataclass(frozen=True)
class EncodedDocuments:
    """Documents' vectors, and the encoder that made them and embeds the queries."""

    vectors: Vectors
    """[N, D], in the order of DOCUMENTS"""
    encoder: EncoderSource


@dataclass(frozen=True)
class PoolInputs:
    """The datasets that pools are made of."""

    questions_uri: str
    documents_uri: str
    rewrites: Mapping[str, str]
    """Teacher -> its REWRITES"""
    runs: Mapping[str, Run]
    """Further teachers, each known by its run alone"""

    @property
    def teachers(self) -> list[str]:
        """The T teachers: those with rewrites, then the runs."""
        return [*self.rewrites, *self.runs]


@dataclass(frozen=True)
class PoolOutputs:
    """The datasets that are made of pools."""

    candidates_uri: str
    """CANDIDATES"""
    scores_uris: Mapping[str, str]
    """Teacher -> its SCORES of the candidates"""


@dataclass(frozen=True)
class Pool:
    """The documents that the teachers retrieved for one question, and the relevant ones."""

    documents: NDArray[np.int64]
    """[P], rows of DOCUMENTS, best first by `mean`"""
    scores: NDArray[np.float32]
    """[T, P]; NaN where a teacher has no query for the question, or its run does not list the document"""
    mean: NDArray[np.float32]
    """[P], over the teachers that have a query, or else over the runs"""


def queries_by_teacher(questions_uri: str, rewrites: Mapping[str, str]) -> Iterator[list[str | None]]:
    """Yield the teachers' queries [T] of each question; `rewrites` maps a teacher to its REWRITES."""
    tables = [AlignedReader(uri, "question_id") for uri in rewrites.values()]
    for question in Rows(questions_uri):
        queries = []
        for table in tables:
            rewrite = table.row_for(question["question_id"])
            queries.append(rewrite["query"] if rewrite else None)
        yield queries

    for table in tables:
        table.check_end()


def pools(
    queries: Sequence[Sequence[str | None]],
    relevant: Sequence[Sequence[int]],
    documents: EncodedDocuments,
    depth: int,
    tally: Tally,
    runs: Sequence[Sequence[DocumentScores]] = (),
) -> Iterator[Pool]:
    """Yield the pool of each question: the `depth` best of each teacher together, and the relevant ones.

    `queries` are [Q, T], `relevant` rows of DOCUMENTS for each of Q, and `runs` [T', Q] further teachers.
    All teachers score a document that one of them retrieved. A relevant one has their scores however well it
    ranks, whereas DiSCo's own code takes another document's. A teacher without a query does not count.
    """
    texts: list[str] = []
    for teacher_queries in queries:
        texts += [query for query in teacher_queries if query is not None]
    vectors = documents.vectors[:0]
    retrieved: Iterator[Ranking] = iter(())
    if texts:
        vectors = texts_to_vectors({"context": texts}, documents.encoder, tally)["context"]
        retrieved = nearest(vectors, documents.vectors, min(depth, documents.vectors.shape[0]))

    start = 0
    for number, teacher_queries in enumerate(queries):
        teachers = [teacher for teacher, query in enumerate(teacher_queries) if query is not None]
        query_vectors = vectors[start : start + len(teachers)]
        start += len(teachers)

        question_runs = [run[number] for run in runs]
        row_lists = [np.array(relevant[number], np.int64)]
        for rows, _ in islice(retrieved, len(teachers)):
            row_lists.append(rows)
        for run in question_runs:
            row_lists.append(_best_rows(run, depth))
        rows = np.unique(np.concatenate(row_lists))
        rows = rows[rows >= 0]

        scores = np.full((len(teacher_queries) + len(question_runs), len(rows)), np.nan, np.float32)
        scores[teachers] = inner_products(query_vectors, documents.vectors[rows])
        for teacher, run in enumerate(question_runs, start=len(teacher_queries)):
            scores[teacher] = [run.get(row, np.nan) for row in rows.tolist()]

        mean = scores[teachers].mean(axis=0) if teachers else _mean_of_runs(scores[len(teacher_queries) :])
        order = np.argsort(-mean, kind="stable")
        yield Pool(rows[order], scores[:, order], mean[order])


def _best_rows(run: DocumentScores, depth: int) -> NDArray[np.int64]:
    """Return the rows of the `depth` best documents of a run, best first."""
    return np.array(sorted(run, key=run.__getitem__, reverse=True)[:depth], np.int64)


def _mean_of_runs(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean [P] of scores [T', P]; a document that a run does not list has its lowest score."""
    listed = scores[~np.isnan(scores).all(axis=1)]
    if not len(listed):
        return np.zeros(scores.shape[1], np.float32)
    lowest = np.nanmin(listed, axis=1, keepdims=True)
    mean: NDArray[np.float32] = np.where(np.isnan(listed), lowest, listed).mean(axis=0)
    return mean


def write_pooled_candidates(
    inputs: PoolInputs, documents: EncodedDocuments, outputs: PoolOutputs, config: PoolsConfig, tally: Tally
) -> Counter[str]:
    """Write CANDIDATES of the training questions and each teacher's SCORES of them; return counts.

    Relevant documents come first, as `gold`; where none is annotated, the teachers' best is the gold one.
    Then come `config.negatives` of the pool's ranks from `first_rank` to `last_rank`, as `retrieved`: the
    teachers' scores say how irrelevant they are.

    Raises:
        ValueError: there is no training question.
    """
    texts: list[str] = []
    rows_by_id: dict[str, int] = {}
    for document in Rows(inputs.documents_uri):
        rows_by_id[document["doc_id"]] = len(texts)
        texts.append(document["text"])

    questions, queries = _training_questions(inputs)
    relevant = [_document_rows(question["positives"], rows_by_id) for question in questions]
    runs = [_scores_by_question(run, questions, rows_by_id) for run in inputs.runs.values()]
    question_pools = pools(queries, relevant, documents, config.depth, tally, runs)

    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        candidates = stack.enter_context(rows_to(outputs.candidates_uri, CANDIDATES))
        scores = []
        for teacher in inputs.teachers:
            scores.append(stack.enter_context(rows_to(outputs.scores_uris[teacher], SCORES)))

        for question, relevant_rows, pool in zip(questions, relevant, question_pools, strict=True):
            ignored = set(_document_rows(question["ignored"], rows_by_id))
            ranks, num_gold = _draw_candidates(pool, relevant_rows, ignored, config, question["question_id"])
            chosen = [texts[row] for row in pool.documents[ranks]]

            candidates.write(_candidates_row(question, chosen, num_gold))
            for writer, teacher_scores in zip(scores, pool.scores[:, ranks].tolist(), strict=True):
                writer.write(_scores_row(question["question_id"], chosen, teacher_scores))

            counts["questions"] += 1
            counts["questions without a relevant document"] += not relevant_rows
            counts["documents in pools"] += len(pool.documents)
            counts["candidates"] += len(chosen)
    return counts


def _training_questions(inputs: PoolInputs) -> tuple[list[dict[str, Any]], list[list[str | None]]]:
    """Return the training rows of QUESTIONS [Q] and the teachers' queries [Q, T].

    Raises:
        ValueError: there is none.
    """
    questions: list[dict[str, Any]] = []
    queries: list[list[str | None]] = []
    all_queries = queries_by_teacher(inputs.questions_uri, inputs.rewrites)
    for question, teacher_queries in zip(Rows(inputs.questions_uri), all_queries, strict=True):
        if question["split"] == "train":
            questions.append(question)
            queries.append(teacher_queries)

    if not questions:
        raise ValueError(f"{inputs.questions_uri}: expected training questions, got none")
    return questions, queries


def _document_rows(doc_ids: Sequence[str], rows_by_id: Mapping[str, int]) -> list[int]:
    return [rows_by_id[doc_id] for doc_id in doc_ids]


def _scores_by_question(
    run: Run, questions: Sequence[Mapping[str, Any]], rows_by_id: Mapping[str, int]
) -> list[DocumentScores]:
    """Return a run's scores [Q] of the documents that exist."""
    run_scores: list[DocumentScores] = []
    for question in questions:
        scores: dict[int, float] = {}
        for doc_id, score in run.get(question["question_id"], {}).items():
            if doc_id in rows_by_id:
                scores[rows_by_id[doc_id]] = score
        run_scores.append(scores)
    return run_scores


def _draw_candidates(
    pool: Pool, relevant: Sequence[int], ignored: set[int], config: PoolsConfig, question_id: str
) -> tuple[list[int], int]:
    """Return the candidates' ranks in the pool [K], those of `gold` ones first, and how many these are."""
    ranked: list[int] = []
    gold: list[int] = []
    for rank, row in enumerate(pool.documents.tolist()):
        if row not in ignored:
            ranked.append(rank)
            if row in relevant:
                gold.append(rank)
    gold = gold or ranked[:1]

    window = [rank for rank in ranked[config.first_rank - 1 : config.last_rank] if rank not in gold]
    generator = random.Random(f"{config.seed} {question_id}")
    return [*gold, *generator.sample(window, min(config.negatives, len(window)))], len(gold)


def _candidates_row(question: Mapping[str, Any], texts: Sequence[str], num_gold: int) -> dict[str, Any]:
    """Return a row of CANDIDATES; the first `num_gold` of `texts` [K] are gold."""
    candidates = []
    for number, text in enumerate(texts):
        source = "gold" if number < num_gold else "retrieved"
        candidates.append({"text": text, "source": source, "teacher": None})
    return {
        "example_id": question["question_id"],
        "conversation_id": question["conversation_id"],
        "split": "train",
        "context": question["context"],
        "candidates": candidates,
        "for_teachers": True,
    }


def _scores_row(question_id: str, texts: Sequence[str], scores: Sequence[float]) -> dict[str, Any]:
    """Return a row of SCORES of a retriever, which has no likelihoods."""
    num_bytes: list[int] = []
    similarities: list[float | None] = []
    for text, score in zip(texts, scores, strict=True):
        num_bytes.append(len(text.encode()))
        similarities.append(None if np.isnan(score) else score)

    nothing = [None] * len(texts)
    return {
        "example_id": question_id,
        "log_likelihood": nothing,
        "prior": nothing,
        "tokens": nothing,
        "bytes": num_bytes,
        "similarity": similarities,
    }
