"""How well every way to search does on the test questions, in TREC's measures."""

from collections.abc import Mapping
from dataclasses import asdict
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


def evaluate(job: SearchJob, students: Mapping[str, SearchJob]) -> dict[str, Any]:
    """Writes every way's run and the judgements in TREC's format; what was measured, see `SearchMeasures`."""
    key = key_of([student.keys["train"] for student in students.values()], list(students), job.keys["pools"])
    return job.once("evaluate", key, lambda: _evaluate(job, students))


def _evaluate(job: SearchJob, students: Mapping[str, SearchJob]) -> dict[str, Any]:
    asked = held_out_questions(job.run.at("questions"), "test", rewrites_uris(job))
    doc_ids = [row["doc_id"] for row in Rows(job.run.at("documents"))]
    ways = {
        **asked.queries,
        **{f"{name}'s rewrite": of for name, of in asked.rewrites.items() if name != HUMAN},
    }
    by_words = bm25_runs(job.run.at("documents"), asked, ways)
    found = {f"BM25, {way}": SearchResult(run) for way, run in by_words.items()}
    found |= {
        f"run {name}": SearchResult(asked.restrict(read_scores(uri)))
        for name, uri in job.config.pools.runs.items()
    }
    with document_vectors(job) as vectors:
        found |= embedding(lambda tally: _by_vectors(job, students, asked, ways, doc_ids, vectors, tally))
    judgements = (
        Judgement(query, doc, grade) for query, of in asked.qrels.items() for doc, grade in of.items()
    )
    write_qrels(job.run.at("runs", "qrels.txt"), judgements)
    for name, searched in found.items():
        file = "".join(character if character.isalnum() else "-" for character in name)
        write_run(job.run.at("runs", f"{file}.trec"), searched.run, file)
    baselines = {name: compared_with(name, list(found), list(students)) for name in found}
    measures = search_measures(asked, found, baselines)
    return {
        "questions": len(asked.qrels),
        "conversations": len(set(asked.conversation_ids.values())),
        "documents": len(doc_ids),
        "systems": {name: asdict(of_system) for name, of_system in measures.items()},
    }


def _by_vectors(
    job: SearchJob,
    students: Mapping[str, SearchJob],
    asked: Questions,
    ways: Mapping[str, Queries],
    doc_ids: list[str],
    vectors: Vectors,
    tally: Tally,
) -> dict[str, SearchResult]:
    """What the retriever with every rewrite, and the students, find among the documents' vectors [N, D]."""
    frozen = retriever(job.config)
    found = {
        f"retriever, {way}": searched
        for way, searched in encoder_runs(doc_ids, vectors, asked, ways, frozen, tally).items()
    }
    if len(asked.rewrites) > 1:
        together = mean_run(doc_ids, EncodedDocuments(vectors, frozen), asked, job.config.pools.depth, tally)
        found["retriever, all rewrites"] = SearchResult(together)
    encoders = {UNTRAINED: (job, frozen)}
    encoders |= {name: (student, trained_student(student, job.config)) for name, student in students.items()}
    for name, (student, encoder) in encoders.items():
        turns = student.config.student.context_turns
        own = {name: student_queries(job.run.at("questions"), "test", turns)}
        found |= encoder_runs(doc_ids, vectors, asked, own, encoder, tally)
    return found
