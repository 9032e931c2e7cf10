"""Pools of documents: what teachers find with their queries, and how each of them scores all of it.

Q questions, T teachers, N documents, P documents of one question's pool, K candidates.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from student.config import PoolsConfig
from student.encoders.encoder import EncoderSource, Tally, Vectors, inner_products, texts_to_vectors
from student.encoders.nearest import nearest
from student.retrieval.trec import Run
from teachers.dataset import Beside, Rows, rows_to
from teachers.records import CANDIDATES, SCORES


@dataclass(frozen=True)
class Pool:
    """The documents that the teachers found for one question, and the relevant ones."""

    documents: NDArray[np.int64]
    """[P], rows of DOCUMENTS, best first by `mean`"""
    scores: NDArray[np.float32]
    """[T, P], every teacher's own scores; NaN where it has no query for the question, or does not list it"""
    mean: NDArray[np.float32]
    """[P], over the teachers that have a query, or else over the runs"""


def queries_of(questions_uri: str, rewrites: Mapping[str, str]) -> Iterator[list[str | None]]:
    """The teachers' queries [T] of each question; `rewrites` maps a teacher to its REWRITES."""
    tables = [Beside(uri, "question_id") for uri in rewrites.values()]
    for row in Rows(questions_uri):
        found = [table.of(row["question_id"]) for table in tables]
        yield [rewrite["query"] if rewrite else None for rewrite in found]
    for table in tables:
        table.end()


def pools(
    queries: Sequence[Sequence[str | None]],
    relevant: Sequence[Sequence[int]],
    documents: Vectors,
    encoder: EncoderSource,
    depth: int,
    tally: Tally,
    runs: Sequence[Sequence[Mapping[int, float]]] = (),
) -> Iterator[Pool]:
    """The pool of each of `queries` [Q, T]: the `depth` best of each teacher together, and `relevant` [Q].

    A document that one teacher found is scored by all, and a relevant one however well it ranks: DiSCo's own
    code takes another's score for those. A teacher without a query has no say. `runs` are further teachers
    [T', Q], of whom only rows of DOCUMENTS and their scores are known.
    """
    texts = [query for of in queries for query in of if query is not None]
    vectors = texts_to_vectors({"context": texts}, encoder, tally)["context"] if texts else documents[:0]
    found = nearest(vectors, documents, min(depth, documents.shape[0])) if texts else iter(())
    place = 0
    for number, (of, own) in enumerate(zip(queries, relevant, strict=True)):
        asked = [teacher for teacher, query in enumerate(of) if query is not None]
        given = [run[number] for run in runs]
        listed = [sorted(run, key=run.__getitem__, reverse=True)[:depth] for run in given]
        rows = [next(found)[0] for _ in asked]
        pool = np.unique(np.concatenate([*rows, *(np.array(best, np.int64) for best in (*listed, own))]))
        pool = pool[pool >= 0]
        scores = np.full((len(of) + len(given), len(pool)), np.nan, np.float32)
        scores[asked] = inner_products(vectors[place : place + len(asked)], documents[pool])
        place += len(asked)
        for teacher, run in enumerate(given, start=len(of)):
            scores[teacher] = [run.get(row, np.nan) for row in pool.tolist()]
        mean = scores[asked].mean(axis=0) if asked else _mean_of_runs(scores[len(of) :])
        best = np.argsort(-mean, kind="stable")
        yield Pool(pool[best], scores[:, best], mean[best])


def _mean_of_runs(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """[P] of scores [T', P]; what a run does not list is as good as the worst that it lists."""
    listed = scores[~np.isnan(scores).all(axis=1)]
    if not len(listed):
        return np.zeros(scores.shape[1], np.float32)
    lowest = np.nanmin(listed, axis=1, keepdims=True)
    mean: NDArray[np.float32] = np.where(np.isnan(listed), lowest, listed).mean(axis=0)
    return mean


def write_pooled_candidates(
    questions_uri: str,
    documents_uri: str,
    rewrites: Mapping[str, str],
    documents: Vectors,
    encoder: EncoderSource,
    candidates_uri: str,
    scores_uris: Mapping[str, str],
    config: PoolsConfig,
    tally: Tally,
    runs: Mapping[str, Run],
) -> Counter[str]:
    """Writes CANDIDATES of the training questions, and each teacher's SCORES of them.

    `rewrites` maps a teacher to its REWRITES, `runs` one that is known by its run to that.

    Relevant documents come first, as `gold`; where none is known, the teachers' best stands in for it. Then
    `config.negatives` of the pool's ranks from `first_rank` to `last_rank`, as `retrieved`: how irrelevant
    they are the teachers say. `documents` [N, D] are DOCUMENTS' vectors in their order.

    Raises:
        ValueError: there is no training question.
    """
    texts = {row["doc_id"]: row["text"] for row in Rows(documents_uri)}
    doc_ids = list(texts)
    place = {doc_id: row for row, doc_id in enumerate(doc_ids)}
    asked = [
        (row, queries)
        for row, queries in zip(Rows(questions_uri), queries_of(questions_uri, rewrites), strict=True)
        if row["split"] == "train"
    ]
    if not asked:
        raise ValueError("questions: no training question")
    relevant = [[place[doc_id] for doc_id in row["positives"]] for row, _ in asked]
    listed = [
        [
            {
                place[doc_id]: score
                for doc_id, score in run.get(row["question_id"], {}).items()
                if doc_id in place
            }
            for row, _ in asked
        ]
        for run in runs.values()
    ]
    queries = [of for _, of in asked]
    found = pools(queries, relevant, documents, encoder, config.depth, tally, listed)
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        candidates = stack.enter_context(rows_to(candidates_uri, CANDIDATES))
        scores = [
            stack.enter_context(rows_to(scores_uris[teacher], SCORES)) for teacher in (*rewrites, *runs)
        ]
        for (row, _), own, pool in zip(asked, relevant, found, strict=True):
            left_out = {place[doc_id] for doc_id in row["ignored"]}
            chosen, num_gold = _chosen(pool, own, left_out, config, row["question_id"])
            counts["questions"] += 1
            counts["questions without a relevant document"] += not own
            counts["documents in pools"] += len(pool.documents)
            counts["candidates"] += len(chosen)
            shown = [texts[doc_ids[pool.documents[rank]]] for rank in chosen]
            candidates.write(
                {
                    "example_id": row["question_id"],
                    "split": "train",
                    "context": row["context"],
                    "candidates": [
                        {
                            "text": text,
                            "source": "gold" if number < num_gold else "retrieved",
                            "teacher": None,
                        }
                        for number, text in enumerate(shown)
                    ],
                    "for_teachers": True,
                }
            )
            for writer, of_teacher in zip(scores, pool.scores[:, chosen].tolist(), strict=True):
                writer.write(_score_row(row["question_id"], shown, of_teacher))
    return counts


def _chosen(
    pool: Pool, relevant: Sequence[int], left_out: set[int], config: PoolsConfig, question_id: str
) -> tuple[list[int], int]:
    """Places in the pool of the candidates [K], those that are `gold` first, and how many these are."""
    ranked = [rank for rank, row in enumerate(pool.documents.tolist()) if row not in left_out]
    gold = [rank for rank in ranked if int(pool.documents[rank]) in set(relevant)] or ranked[:1]
    window = [rank for rank in ranked[config.first_rank - 1 : config.last_rank] if rank not in gold]
    generator = random.Random(f"{config.seed} {question_id}")
    return [*gold, *generator.sample(window, min(config.negatives, len(window)))], len(gold)


def _score_row(question_id: str, texts: Sequence[str], scores: Sequence[float]) -> dict[str, Any]:
    """A row of SCORES of a retriever."""
    nothing = [None] * len(texts)
    return {
        "example_id": question_id,
        "log_likelihood": nothing,
        "prior": nothing,
        "tokens": nothing,
        "bytes": [len(text.encode()) for text in texts],
        "similarity": [None if np.isnan(score) else score for score in scores],
    }
