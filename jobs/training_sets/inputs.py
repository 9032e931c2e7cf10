"""Checks of the data and weights of a comparison of training sets."""

from functools import partial

from jobs.execution.inputs import check, check_documents, check_questions, check_sources, check_student
from jobs.training_sets.config import TrainingSetsConfig
from teachers.engines.weights import check_generative_model


def check_inputs(config: TrainingSetsConfig) -> None:
    """Raises ConfigError where data or weights that the config names are missing."""
    check_student(config.student)
    check_documents(config.documents)
    check_questions(config.questions)
    check_sources("synthesised", config.synthesised)
    if config.generator is not None:
        check("generator.model", partial(check_generative_model, config.generator.model))
