"""How well every way to search does on the test questions, in TREC's measures."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.conversational_search.config import SearchConfig
from jobs.conversational_search.report import UNTRAINED, compared_with
from jobs.conversational_search.stages import retriever, rewrites, trained
from jobs.distillation.stages import embedding
from jobs.execution.job import Job
from jobs.execution.run_directory import key_of
from student.encoders.encoder import Tally, Vectors
from student.evaluation.document_search import (
    Queries,
    Questions,
    Searched,
    bm25_runs,
    encoder_runs,
    held_out_questions,
    mean_run,
    student_queries,
)
from student.evaluation.metrics import search_metrics
from student.evaluation.statistics import interval, paired_difference
from student.retrieval.document_vectors import read_vectors
from teachers.config import HUMAN
from teachers.corpora.trec import Judgement, read_scores, write_qrels, write_run
from teachers.dataset import Rows


def evaluate(job: Job, config: SearchConfig, students: Mapping[str, Job]) -> dict[str, Any]:
    """Writes every way's run and the judgements in TREC's format; what was measured, see `_measured`."""
    key = key_of([student.keys["train"] for student in students.values()], list(students), job.keys["pools"])
    return job.once("evaluate", key, lambda: _evaluate(job, config, students))


def _evaluate(job: Job, config: SearchConfig, students: Mapping[str, Job]) -> dict[str, Any]:
    asked = held_out_questions(job.run.at("questions"), "test", rewrites(job, config))
    doc_ids = [row["doc_id"] for row in Rows(job.run.at("documents"))]
    ways = {
        **asked.asked,
        **{f"{name}'s rewrite": of for name, of in asked.rewrites.items() if name != HUMAN},
    }
    by_words = bm25_runs(job.run.at("documents"), asked, ways)
    found = {f"BM25, {way}": Searched(run) for way, run in by_words.items()}
    found |= {f"run {name}": Searched(asked.of(read_scores(uri))) for name, uri in config.pools.runs.items()}
    with tempfile.TemporaryDirectory(prefix="rejoinder-vectors-") as scratch:
        vectors = read_vectors(job.run.at("vectors"), Path(scratch))
        found |= embedding(
            lambda tally: _by_vectors(job, config, students, asked, ways, doc_ids, vectors, tally)
        )
    judgements = (
        Judgement(query, doc, grade) for query, of in asked.qrels.items() for doc, grade in of.items()
    )
    write_qrels(job.run.at("runs", "qrels.txt"), judgements)
    for name, searched in found.items():
        file = "".join(character if character.isalnum() else "-" for character in name)
        write_run(job.run.at("runs", f"{file}.trec"), searched.run, file)
    return {
        "questions": len(asked.qrels),
        "conversations": len(set(asked.conversation_ids.values())),
        "documents": len(doc_ids),
        "systems": measured(
            asked, found, {name: compared_with(name, list(found), list(students)) for name in found}
        ),
    }


def _by_vectors(
    job: Job,
    config: SearchConfig,
    students: Mapping[str, Job],
    asked: Questions,
    ways: Mapping[str, Queries],
    doc_ids: list[str],
    vectors: Vectors,
    tally: Tally,
) -> dict[str, Searched]:
    """What the retriever with every rewrite, and the students, find among the documents' vectors [N, D]."""
    frozen = retriever(config)
    found = {
        f"retriever, {way}": searched
        for way, searched in encoder_runs(doc_ids, vectors, asked, ways, frozen, tally).items()
    }
    if len(asked.rewrites) > 1:
        together = mean_run(doc_ids, vectors, asked, frozen, config.pools.depth, tally)
        found["retriever, all rewrites"] = Searched(together)
    encoders = {UNTRAINED: (job, frozen)}
    encoders |= {name: (student, trained(student, config)) for name, student in students.items()}
    for name, (student, encoder) in encoders.items():
        turns = student.config.student.context_turns
        own = {name: student_queries(job.run.at("questions"), "test", turns)}
        found |= encoder_runs(doc_ids, vectors, asked, own, encoder, tally)
    return found


def measured(
    asked: Questions, found: Mapping[str, Searched], against: Mapping[str, list[str]]
) -> dict[str, Any]:
    """By system: `metrics` with 95 % intervals over conversations, `sparsity` (see `sparsity_metrics`), and
    `against`, its MRR less that of others.
    """
    groups = [asked.conversation_ids[question] for question in asked.qrels]
    values = {name: search_metrics(asked.qrels, searched.run) for name, searched in found.items()}
    return {
        name: {
            "metrics": {metric: vars(interval(of[None], groups)) for metric, of in values[name].items()},
            "sparsity": searched.sparsity,
            "against": {
                other: vars(paired_difference(values[other]["mrr"][None], values[name]["mrr"][None], groups))
                for other in against[name]
            },
        }
        for name, searched in found.items()
    }
