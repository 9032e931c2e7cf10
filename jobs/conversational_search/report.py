"""The measures of a search job, as a comparison of systems."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.conversational_search.config import STUDENT
from jobs.execution.job import Job
from jobs.execution.run_directory import provenance
from jobs.reports import comparison as report
from jobs.stages.training import training_reports
from student.evaluation.search.measures import system_rows
from teachers.generation.latency import TOKENS

UNTRAINED = "student before training"
"""The retriever with the turns of a conversation that the first student reads."""


def search_comparison(
    job: Job[Any], students: Mapping[str, Job[Any]], measured: Mapping[str, Any]
) -> report.Comparison:
    """Return the comparison of the systems that `jobs.conversational_search.evaluation.evaluate` measured."""
    kinds = {name: _kind(name, students) for name in measured["systems"]}
    table = measured_table(
        "search",
        "Questions of conversations that no training question comes from. The retriever is the student "
        "before its training; with a rewrite it is what a teacher searches with.",
        measured,
        kinds,
    )

    return report.Comparison(
        title=f"Conversational search: {job.run.uri.rsplit('/', 1)[-1]}",
        **provenance(),
        seeds=[job.config.student.seed],
        notes=[_note(job)],
        tables=[table],
        sparsity={name: row["sparsity"] for name, row in measured["systems"].items() if row["sparsity"]},
        learning_curves=curves(students),
        latency=_latency(job),
    )


def measured_table(
    name: str,
    explanation: str,
    measured: Mapping[str, Any],
    kinds: Mapping[str, str],
    compared_by: str = "mrr",
) -> report.HeldOutTable:
    """Return the table of `search_counts`, whose systems differ by `against` in the metric `compared_by`."""
    return report.HeldOutTable(
        name,
        explanation,
        measured["questions"],
        measured["conversations"],
        measured["documents"],
        system_rows(measured["systems"], kinds, compared_by),
        compared_by,
    )


def curves(students: Mapping[str, Job[Any]]) -> dict[str, dict[str, Sequence[Mapping[str, float]]]]:
    """Return the learning curve of each student's one training."""
    by_student: dict[str, dict[str, Sequence[Mapping[str, float]]]] = {}
    for name, student in students.items():
        by_student[name] = {"": report.learning_curve(training_reports(student).lines())}
    return by_student


def compared_with(name: str, systems: list[str], students: list[str]) -> list[str]:
    """Return the systems that a student's MRR is tested against.

    The first student is tested against every teacher and every other student, another against the first.
    """
    if name not in students:
        return []
    if name != STUDENT:
        return [UNTRAINED, STUDENT]
    return [other for other in systems if other != name and not other.startswith("BM25")]


def _kind(name: str, students: Mapping[str, Job[Any]]) -> str:
    if name in students:
        return str(students[name].config.student.kind)
    return "teacher" if "rewrite" in name and name.startswith("retriever") else "baseline"


def _note(job: Job[Any]) -> str:
    counts = job.run.read_json("stages", "questions.json")["counts"]
    return (
        f"{counts.get('train questions', 0)} training questions; one training of every student. "
        f"{report.STATISTICS} Each student is the checkpoint with the best validation MRR."
    )


def _latency(job: Job[Any]) -> report.Latency | None:
    if "latency" not in job.keys:
        return None

    note = (
        f"`{STUDENT}` reads the conversation and searches, one request at a time over HTTP. A teacher writes "
        f"{TOKENS} tokens of a rewrite, alone in its actor; a search comes after it. One machine, one run."
    )
    counts = job.run.read_json("stages", "latency.json")["counts"]
    return report.latency_of(counts, STUDENT, note, " rewrites")
