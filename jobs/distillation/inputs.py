"""Checks of a distillation's data and weights."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from jobs.config import ConfigError
from jobs.distillation.config import DistillationConfig
from jobs.execution.inputs import check, check_student, check_teachers
from jobs.execution.job import Job
from student.encoders.packaged import check_encoder
from student.evaluation.held_out import check_responses
from teachers.corpora.conversations import check_source
from teachers.corpora.examples import read_scripts
from teachers.generation.filters import filters
from teachers.scoring.candidates import RANKED_CANDIDATES


def check_examples(job: Job[Any], splits: Sequence[str] = ("test",)) -> None:
    """Raises ValueError where the examples are too few for what comes after the teachers' work.

    Systems are measured on `splits`. The config is a distillation's, or one that has its sections.
    """
    config: DistillationConfig = job.config
    examples = job.run.at("examples")
    for split in splits:
        check_responses(examples, split)

    counts = job.run.read_json("stages", "examples.json")["counts"]
    config.student.num_steps(counts["train examples"])
    if config.targets.fits_on_validation and not counts["validation examples"]:
        raise ValueError(
            "targets: expected validation examples to fit temperature or weights to, got none; "
            "add conversations or raise examples.validation_share"
        )


def check_inputs(config: DistillationConfig) -> None:
    """Raises ConfigError where data or weights that the config names are missing."""
    check_teachers(config.teachers)
    check_student(config.student)
    check("examples.conversations", lambda: check_source(config.examples.conversations))
    filters(config.filters)
    check("candidates.retriever", lambda: check_encoder(config.candidates.retriever, "dense"))
    for name, uri in config.evaluate.scripts.items():
        check(f"evaluate.scripts.{name}", partial(read_scripts, uri))

    if config.examples.max_test < RANKED_CANDIDATES:
        raise ConfigError(
            f"examples.max_test: {config.examples.max_test} test responses are fewer than the "
            f"{RANKED_CANDIDATES} candidates of hits@1/{RANKED_CANDIDATES}"
        )
