"""Checks of a distillation's data and weights."""

from functools import partial

from jobs.config import ConfigError
from jobs.distillation.config import DistillationConfig
from jobs.execution.inputs import check, check_student, check_teachers
from student.encoders.packaged import check_encoder
from teachers.corpora.conversations import check_source
from teachers.corpora.examples import read_scripts
from teachers.generation.filters import filters
from teachers.scoring.candidates import RANKED_CANDIDATES


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
