"""A system of a comparison goes on from the base run, and makes only what it would make differently."""

from pathlib import Path

import pytest

from jobs.comparison.config import ComparisonConfig, parse_comparison
from jobs.comparison.systems import branch, seed_job
from jobs.execution.job import Job
from jobs.execution.run_directory import RunDirectory
from jobs.execution.tracking import Tracker
from teachers.config import VllmTeacher


@pytest.fixture
def config() -> ComparisonConfig:
    return parse_comparison(["--config", "configs/bench.yaml"])[0]


@pytest.fixture
def base(config: ComparisonConfig, tmp_path: Path) -> Job:
    job = Job(config, RunDirectory(str(tmp_path / "base")), Tracker(None, ".", {}))
    job.teachers = {"smollm2": VllmTeacher(model="fitted")}
    job.keys = {"candidates": "a", "score": "b", "targets": "c"}
    return job


@pytest.mark.parametrize(
    ("system", "not_borrowed"),
    [
        ("human-only", {"candidates", "scores", "targets"}),  # other candidates, so other scores of them
        ("model-level-likelihood", {"targets"}),
        ("data-level", set()),
        ("ensemble", set()),
    ],
)
def test_a_system_borrows_the_datasets_that_it_does_not_change(
    base: Job, config: ComparisonConfig, system: str, not_borrowed: set[str]
) -> None:
    job = branch(base, config.system(system, 0), "systems", system)
    parts = ("examples", "responses", "neighbours", "candidates", "scores", "targets", "student")
    assert {part for part in parts if job.run.at(part) != base.run.at(part)} == not_borrowed | {"student"}
    student = seed_job(config, job, system, 0)
    assert {part for part in parts if student.run.at(part) != job.run.at(part)} == {"student"}


def test_a_system_has_the_finetuned_teachers(base: Job, config: ComparisonConfig) -> None:
    system = branch(base, config.system("ensemble", 0), "systems", "ensemble")
    job = seed_job(config, system, "ensemble", 0)
    assert job.teachers == base.teachers != config.teachers
    assert (job.store, job.keys) == (base.store, base.keys)
    assert job.config.student.seed == 0 and job.config.tracking.project is None
