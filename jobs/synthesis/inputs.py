"""Checks of a synthesis' data and weights."""

from functools import partial

from jobs.execution.inputs import check, check_documents, check_teachers
from jobs.synthesis.config import SynthesisJobConfig
from teachers.generation.filters import filters
from teachers.synthesis.entailment import check_entailment
from teachers.synthesis.plans import graph_of


def check_inputs(config: SynthesisJobConfig) -> None:
    """Raises ConfigError where data or weights that the config names are missing."""
    check_teachers(config.teachers)
    check_documents(config.documents)
    check("synthesis", lambda: graph_of(config.synthesis))
    if (model := config.checks.entailment_model) is not None:
        check("checks.entailment_model", partial(check_entailment, model))
    filters(config.filters)
