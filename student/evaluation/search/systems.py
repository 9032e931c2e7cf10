"""Search results of several systems on the same questions: BM25, encoders and the runs of other systems.

N documents, D dimensions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from student.encoders.embedding import Tally, texts_to_vectors_of_each
from student.encoders.encoder import EncoderSource, Side, Vectors
from student.evaluation.search.document_search import (
    Queries,
    Questions,
    SearchResult,
    bm25_runs,
    encoder_runs,
    mean_run,
    search_by_vectors,
)
from student.evaluation.search.measures import search_counts
from student.retrieval.pools import EncodedDocuments
from student.retrieval.trec import Run
from teachers.dataset import Rows

BM25 = "BM25"


@dataclass(frozen=True)
class SearchBenchmark:
    """Questions, the ways to put them as queries, and the documents to search."""

    questions: Questions
    query_kinds: Mapping[str, Queries]
    documents_uri: str
    doc_ids: Sequence[str]
    """[N]"""

    @classmethod
    def of_rewrites(
        cls, questions: Questions, teachers: Iterable[str], documents_uri: str
    ) -> "SearchBenchmark":
        """Return the benchmark whose queries are those of the questions, and the rewrites of `teachers`."""
        query_kinds = dict(questions.queries)
        for teacher in teachers:
            query_kinds[f"{teacher}'s rewrite"] = questions.rewrites[teacher]
        return cls(questions, query_kinds, documents_uri, [row["doc_id"] for row in Rows(documents_uri)])


@dataclass(frozen=True)
class SearchTask:
    """Questions about documents that are searched by several encoders."""

    questions: Questions
    documents_uri: str


def baseline_results(benchmark: SearchBenchmark, runs: Mapping[str, Run]) -> dict[str, SearchResult]:
    """Return the results of BM25, by kind of query, and of other systems' runs."""
    questions = benchmark.questions
    results = {}
    for kind, run in bm25_runs(benchmark.documents_uri, questions, benchmark.query_kinds).items():
        results[f"{BM25}, {kind}"] = SearchResult(run)
    for name, run in runs.items():
        results[f"run {name}"] = SearchResult(questions.restrict(run))
    return results


def retriever_results(
    benchmark: SearchBenchmark, documents: EncodedDocuments, depth: int, tally: Tally
) -> dict[str, SearchResult]:
    """Return the results of the documents' encoder by kind of query, and of all teachers' rewrites together.

    `depth` is of each rewrite's pool.
    """
    questions, doc_ids = benchmark.questions, benchmark.doc_ids
    by_kind = encoder_runs(
        doc_ids, documents.vectors, questions, benchmark.query_kinds, documents.encoder, tally
    )
    results = {f"retriever, {kind}": result for kind, result in by_kind.items()}
    if len(questions.rewrites) > 1:
        run = mean_run(doc_ids, documents, questions, depth, tally)
        results["retriever, all rewrites"] = SearchResult(run)
    return results


def student_results(
    benchmark: SearchBenchmark,
    vectors: Vectors,
    students: Mapping[str, tuple[EncoderSource, Queries]],
    tally: Tally,
) -> dict[str, SearchResult]:
    """Return the result of each student with its queries, among the documents' vectors [N, D]."""
    results: dict[str, SearchResult] = {}
    for name, (encoder, queries) in students.items():
        results |= encoder_runs(
            benchmark.doc_ids, vectors, benchmark.questions, {name: queries}, encoder, tally
        )
    return results


def measure_tasks(
    tasks: Mapping[str, SearchTask],
    queries: Queries,
    encoders: Mapping[str, EncoderSource],
    baselines: Mapping[str, Sequence[str]],
    tally: Tally,
) -> dict[str, dict[str, Any]]:
    """Return for each task `search_counts` of BM25 and of the encoders.

    `queries` has those of all tasks; `baselines` names the systems that each one is tested against.
    """
    rows_by_task = {name: list(Rows(task.documents_uri)) for name, task in tasks.items()}
    texts: dict[Side, list[str]] = {"context": list(queries.values()), "response": []}
    for rows in rows_by_task.values():
        texts["response"] += [row["text"] for row in rows]
    # Of all tasks and encoders at once: actors take longer to start than these texts take.
    vectors = texts_to_vectors_of_each(texts, list(encoders.values()), tally)
    row_of_query = {question_id: row for row, question_id in enumerate(queries)}

    counts, start = {}, 0
    for task_name, task in tasks.items():
        doc_ids = [row["doc_id"] for row in rows_by_task[task_name]]
        task_queries = {question_id: queries[question_id] for question_id in task.questions.qrels}
        query_rows = [row_of_query[question_id] for question_id in task_queries]

        runs = bm25_runs(task.documents_uri, task.questions, {BM25: task_queries})
        results = {BM25: SearchResult(runs[BM25])}
        for name, by_side in zip(encoders, vectors, strict=True):
            documents = by_side["response"][start : start + len(doc_ids)]
            results[name] = search_by_vectors(
                by_side["context"][query_rows], doc_ids, documents, task.questions, task_queries
            )
        start += len(doc_ids)
        counts[task_name] = search_counts(task.questions, results, baselines, len(doc_ids))
    return counts
