"""Checks of a search's data and weights."""

from jobs.conversational_search.config import SearchConfig
from jobs.execution.inputs import (
    check,
    check_documents,
    check_questions,
    check_sources,
    check_student,
    check_teachers,
)
from teachers.generation.rewriting import read_prompt


def check_inputs(config: SearchConfig) -> None:
    """Raises ConfigError where data or weights that the config names are missing."""
    check_teachers(config.teachers)
    check_student(config.student)
    check_documents(config.documents)
    check_questions(config.questions)
    for name, run in config.pools.runs.items():
        check_sources(f"pools.runs.{name}", [run])
    check("rewriting.prompt", lambda: read_prompt(config.rewriting))
