"""What a search job measured, as the dictionary that `jobs.reports` shows and writes."""

from collections.abc import Mapping
from typing import Any

from jobs.conversational_search.config import STUDENT
from jobs.distillation.stages import training_reports
from jobs.execution.job import Job
from jobs.execution.run_directory import provenance
from teachers.generation.latency import TOKENS

_CURVES = ("step", "loss", "validation_mrr", "validation_hits@1/20", "validation_loss")
UNTRAINED = "student before training"
"""The retriever with the turns of a conversation that the first student reads."""


def search_comparison(job: Job, students: Mapping[str, Job], found: Mapping[str, Any]) -> dict[str, Any]:
    """`found` is what `jobs.conversational_search.evaluation.evaluate` returned."""
    table = {
        "name": "search",
        "explanation": "Questions of conversations that no training question comes from. The retriever is "
        "the student before its training; with a rewrite it is what a teacher searches with.",
        "contexts": found["questions"],
        "conversations": found["conversations"],
        "responses": found["documents"],
        "rows": [measured_row(name, _kind(name, students), row) for name, row in found["systems"].items()],
    }
    curves = {name: curve(student) for name, student in students.items()}
    sparsity = {name: row["sparsity"] for name, row in found["systems"].items() if row["sparsity"]}
    return {
        **as_comparison(
            job, f"Conversational search: {job.run.uri.rsplit('/', 1)[-1]}", _note(job), [table], curves
        ),
        "sparsity": sparsity,
        "latency": _latency(job),
    }


def as_comparison(
    job: Job,
    title: str,
    note: str,
    tables: list[dict[str, Any]],
    curves: Mapping[str, list[dict[str, float]]],
) -> dict[str, Any]:
    """What `jobs.reports` shows and writes where systems are searched with, and no more."""
    return {
        "title": title,
        **provenance(),
        "seeds": [job.config.student.seed],
        "notes": [note],
        "tables": tables,
        "answers": [],
        "sparsity": {},
        "learning_curves": {name: {"": found} for name, found in curves.items()},
        "teachers": {"measures": {}, "kendall_tau": {}, "ratings": []},
        "filters": {},
        "latency": None,
        "reading": [],
    }


def measured_row(name: str, kind: str, row: Mapping[str, Any], metric: str = "mrr") -> dict[str, Any]:
    """The row of a table for a system with its `metrics` and what it is tested `against`, by one of them."""
    return {
        "system": name,
        "kind": kind,
        "seeds": 1,
        "metrics": row["metrics"],
        "seed_deviation": {},
        "against": [
            {"system": other, "differences": {metric: difference}}
            for other, difference in row["against"].items()
        ],
    }


def compared_with(name: str, systems: list[str], students: list[str]) -> list[str]:
    """The systems that a student's MRR is tested against: the first's against every teacher's and every other
    student's, another's against the first's.
    """
    if name not in students:
        return []
    if name != STUDENT:
        return [UNTRAINED, STUDENT]
    return [other for other in systems if other != name and not other.startswith("BM25")]


def _kind(name: str, students: Mapping[str, Job]) -> str:
    if name in students:
        return students[name].config.student.kind
    return "teacher" if "rewrite" in name and name.startswith("retriever") else "baseline"


def _note(job: Job) -> str:
    asked = job.run.read_json("stages", "questions.json")["counts"]
    return (
        f"{asked.get('train questions', 0)} training questions; one training of every student. Intervals are "
        "95 %, by a bootstrap over conversations; p-values by a paired randomisation test over "
        "conversations, not corrected for their number. Each student is the checkpoint with the best "
        "validation MRR."
    )


def _latency(job: Job) -> dict[str, Any] | None:
    if "latency" not in job.keys:
        return None
    counts = job.run.read_json("stages", "latency.json")["counts"]
    return {
        "teachers": {f"{name} rewrites": found for name, found in counts["teachers"].items() if found},
        "students": {STUDENT: counts["student"]},
        "note": f"`{STUDENT}` reads the conversation and searches, one request at a time over HTTP. A "
        f"teacher writes {TOKENS} tokens of a rewrite, alone in its actor; a search comes after it. One "
        "machine, one run.",
    }


def curve(student: Job) -> list[dict[str, float]]:
    """What its training reported."""
    lines = training_reports(student)[1].lines()
    return [{name: line[name] for name in _CURVES if name in line} for line in lines]
