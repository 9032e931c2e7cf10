"""What is too little for the end of a job is told right after its examples."""

from pathlib import Path
from typing import Any

import pytest

from jobs.distillation.config import DistillationConfig
from jobs.distillation.inputs import check_examples
from jobs.execution.job import Job
from jobs.execution.run_directory import RunDirectory
from jobs.execution.tracking import Tracker
from teachers.dataset import write_rows
from teachers.records import EXAMPLES
from tests.student.student_rows import example_rows

TEACHER = {"kind": "endpoint", "base_url": "http://nowhere/v1", "model": "m", "tokenizer": "t"}


def job_with(
    folder: Path, num_train: int, num_validation: int, num_test: int, **sections: Any
) -> Job[DistillationConfig]:
    config = DistillationConfig.model_validate({"teachers": {"one": TEACHER}, **sections})
    job = Job(config, RunDirectory(str(folder / "run")), Tracker(None, ".", {}))
    rows = example_rows(num_validation, "validation") + example_rows(num_test, "test")
    write_rows(job.run.at("examples"), rows, EXAMPLES)
    counts = {"train examples": num_train, "validation examples": num_validation, "test examples": num_test}
    job.run.write_json({"counts": counts}, "stages", "examples.json")
    return job


def test_enough_examples_pass(tmp_path: Path) -> None:
    check_examples(job_with(tmp_path, 40, 0, 20))
    check_examples(job_with(tmp_path, 40, 20, 0), ("validation",))


@pytest.mark.parametrize(
    ("numbers", "sections", "line"),
    [
        (
            (40, 20, 6),
            {},
            "examples: expected at least 20 distinct test responses, got 6; add conversations or raise "
            "examples.test_share",
        ),
        (
            (40, 20, 20),
            {"student": {"accumulation_steps": 100}},
            "student.accumulation_steps: expected at most the 1 steps of the training, got 100",
        ),
        (
            (40, 0, 20),
            {"targets": {"temperature": "validation"}, "candidates": {"validation_contexts": 5}},
            "targets: expected validation examples to fit temperature or weights to, got none; "
            "add conversations or raise examples.validation_share",
        ),
    ],
)
def test_too_few_examples_are_told_with_what_is_needed(
    tmp_path: Path, numbers: tuple[int, int, int], sections: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValueError) as error:
        check_examples(job_with(tmp_path, *numbers, **sections))
    assert str(error.value) == line
