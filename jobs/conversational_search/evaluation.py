"""Evaluation of every search system on the test questions, by TREC's measures."""

from collections.abc import Mapping
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
from student.encoders.embedding import Tally
from student.encoders.encoder import EncoderSource, Vectors
from student.evaluation.search import systems as search_systems
from student.evaluation.search.document_search import (
    Queries,
    Questions,
    SearchResult,
    held_out_questions,
    student_queries,
)
from student.evaluation.search.measures import search_counts
from student.retrieval.pools import EncodedDocuments
from teachers.corpora.trec import Judgement, read_scores, write_qrels, write_run
from teachers.generation.config import HUMAN


def evaluate(job: SearchJob, students: Mapping[str, SearchJob]) -> dict[str, Any]:
    """Write each system's run and the judgements as TREC files; return `search_counts`."""
    key = key_of([student.keys["train"] for student in students.values()], list(students), job.keys["pools"])
    return job.once("evaluate", key, lambda: _evaluate(job, students))


def _evaluate(job: SearchJob, students: Mapping[str, SearchJob]) -> dict[str, Any]:
    questions = held_out_questions(job.run.at("questions"), "test", rewrites_uris(job))
    teachers = [teacher for teacher in questions.rewrites if teacher != HUMAN]
    benchmark = search_systems.SearchBenchmark.of_rewrites(questions, teachers, job.run.at("documents"))
    results = search_systems.baseline_results(
        benchmark, {name: read_scores(uri) for name, uri in job.config.pools.runs.items()}
    )
    encoders = _student_queries(job, students)

    def by_vectors(vectors: Vectors, tally: Tally) -> dict[str, SearchResult]:
        encoded = EncodedDocuments(vectors, retriever(job.config))
        by_retriever = search_systems.retriever_results(benchmark, encoded, job.config.pools.depth, tally)
        return by_retriever | search_systems.student_results(benchmark, vectors, encoders, tally)

    with document_vectors(job) as vectors:
        results |= embedding(lambda tally: by_vectors(vectors, tally))

    _write_trec_files(job, questions, results)
    baselines = {name: compared_with(name, list(results), list(students)) for name in results}
    return search_counts(questions, results, baselines, len(benchmark.doc_ids))


def _student_queries(
    job: SearchJob, students: Mapping[str, SearchJob]
) -> dict[str, tuple[EncoderSource, Queries]]:
    """Return the encoder and the queries of each student, and of the first one before its training."""
    encoders = {UNTRAINED: (job, retriever(job.config))}
    for name, student in students.items():
        encoders[name] = (student, trained_student(student, job.config))

    with_queries = {}
    for name, (student, encoder) in encoders.items():
        turns = student.config.student.context_turns
        with_queries[name] = (encoder, student_queries(job.run.at("questions"), "test", turns))
    return with_queries


def _write_trec_files(job: SearchJob, questions: Questions, results: Mapping[str, SearchResult]) -> None:
    judgements = []
    for question_id, grades in questions.qrels.items():
        for doc_id, grade in grades.items():
            judgements.append(Judgement(question_id, doc_id, grade))
    write_qrels(job.run.at("runs", "qrels.txt"), judgements)

    for name, result in results.items():
        file = "".join(character if character.isalnum() else "-" for character in name)
        write_run(job.run.at("runs", f"{file}.trec"), result.run, file)
