"""Evaluation of every search system on the test questions, by TREC's measures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jobs.conversational_search.report import UNTRAINED, compared_with
from jobs.conversational_search.stages import (
    SearchJob,
    document_vectors,
    retriever,
    rewrites_uris,
    trained_student,
)
from jobs.execution.progress import embedding
from jobs.execution.run_directory import key_of
from student.encoders.encoder import Tally, Vectors
from student.evaluation.document_search import (
    Queries,
    Questions,
    SearchResult,
    bm25_runs,
    encoder_runs,
    held_out_questions,
    mean_run,
    student_queries,
)
from student.evaluation.search_measures import search_measures
from student.retrieval.pools import EncodedDocuments
from teachers.corpora.trec import Judgement, read_scores, write_qrels, write_run
from teachers.dataset import Rows
from teachers.generation.config import HUMAN


@dataclass(frozen=True)
class _Benchmark:
    """Test questions, and the ways to put them as queries to the documents."""

    questions: Questions
    query_kinds: dict[str, Queries]
    doc_ids: list[str]


def evaluate(job: SearchJob, students: Mapping[str, SearchJob]) -> dict[str, Any]:
    """Write each system's run and the judgements as TREC files; return `SearchMeasures` and counts."""
    key = key_of([student.keys["train"] for student in students.values()], list(students), job.keys["pools"])
    return job.once("evaluate", key, lambda: _evaluate(job, students))


def _evaluate(job: SearchJob, students: Mapping[str, SearchJob]) -> dict[str, Any]:
    questions = held_out_questions(job.run.at("questions"), "test", rewrites_uris(job))
    query_kinds = dict(questions.queries)
    for teacher, queries in questions.rewrites.items():
        if teacher != HUMAN:
            query_kinds[f"{teacher}'s rewrite"] = queries

    results: dict[str, SearchResult] = {}
    for kind, run in bm25_runs(job.run.at("documents"), questions, query_kinds).items():
        results[f"BM25, {kind}"] = SearchResult(run)
    for name, uri in job.config.pools.runs.items():
        results[f"run {name}"] = SearchResult(questions.restrict(read_scores(uri)))

    doc_ids = [row["doc_id"] for row in Rows(job.run.at("documents"))]
    benchmark = _Benchmark(questions, query_kinds, doc_ids)
    with document_vectors(job) as vectors:
        results |= embedding(lambda tally: _results_by_vectors(job, students, benchmark, vectors, tally))

    _write_trec_files(job, questions, results)
    baselines = {name: compared_with(name, list(results), list(students)) for name in results}
    measures = search_measures(questions, results, baselines)
    return {
        "questions": len(questions.qrels),
        "conversations": len(set(questions.conversation_ids.values())),
        "documents": len(doc_ids),
        "systems": {name: asdict(system_measures) for name, system_measures in measures.items()},
    }


def _write_trec_files(job: SearchJob, questions: Questions, results: Mapping[str, SearchResult]) -> None:
    judgements = []
    for question_id, grades in questions.qrels.items():
        for doc_id, grade in grades.items():
            judgements.append(Judgement(question_id, doc_id, grade))
    write_qrels(job.run.at("runs", "qrels.txt"), judgements)

    for name, result in results.items():
        file = "".join(character if character.isalnum() else "-" for character in name)
        write_run(job.run.at("runs", f"{file}.trec"), result.run, file)


def _results_by_vectors(
    job: SearchJob, students: Mapping[str, SearchJob], benchmark: _Benchmark, vectors: Vectors, tally: Tally
) -> dict[str, SearchResult]:
    """Return the results of the retriever and the students among the documents' vectors [N, D]."""
    questions, doc_ids = benchmark.questions, benchmark.doc_ids
    frozen = retriever(job.config)

    results: dict[str, SearchResult] = {}
    by_kind = encoder_runs(doc_ids, vectors, questions, benchmark.query_kinds, frozen, tally)
    for kind, result in by_kind.items():
        results[f"retriever, {kind}"] = result
    if len(questions.rewrites) > 1:
        documents = EncodedDocuments(vectors, frozen)
        run = mean_run(doc_ids, documents, questions, job.config.pools.depth, tally)
        results["retriever, all rewrites"] = SearchResult(run)

    encoders = {UNTRAINED: (job, frozen)}
    for name, student in students.items():
        encoders[name] = (student, trained_student(student, job.config))
    for name, (student, encoder) in encoders.items():
        turns = student.config.student.context_turns
        queries = {name: student_queries(job.run.at("questions"), "test", turns)}
        results |= encoder_runs(doc_ids, vectors, questions, queries, encoder, tally)
    return results
