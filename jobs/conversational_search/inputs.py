"""Checks of a search's data and weights."""

from jobs.conversational_search.config import STUDENT, SearchConfig
from jobs.execution.inputs import (
    check,
    check_documents,
    check_questions,
    check_sources,
    check_student,
    check_teachers,
)
from jobs.execution.job import Job
from teachers.generation.rewriting import read_prompt


def check_questions_by_split(job: Job[SearchConfig]) -> None:
    """Raises ValueError where the questions are too few for what comes after the teachers' work."""
    counts = job.run.read_json("stages", "questions.json")["counts"]
    for split in ("train", "test"):
        if not counts.get(f"{split} questions"):
            raise ValueError(
                f"questions: expected {split} questions, got none of {counts['questions']}; "
                "add conversations or change questions.test_share"
            )

    for name, config in job.config.students_by_name().items():
        try:
            config.student.num_steps(counts["train questions"])
        except ValueError as error:
            raise ValueError(error if name == STUDENT else f"students.{name}: {error}") from None


def check_inputs(config: SearchConfig) -> None:
    """Raises ConfigError where data or weights that the config names are missing."""
    check_teachers(config.teachers)
    check_student(config.student)
    check_documents(config.documents)
    check_questions(config.questions)
    for name, run in config.pools.runs.items():
        check_sources(f"pools.runs.{name}", [run])
    check("rewriting.prompt", lambda: read_prompt(config.rewriting))
