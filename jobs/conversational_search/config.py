"""The config of a search job: a job's, with documents and questions in place of examples and responses."""

import argparse
from typing import Any

from pydantic import Field, model_validator

from jobs.config import ConfigError, JobConfig, changed, option_parser, parse_as
from student.config import PoolsConfig
from teachers.config import writes
from teachers.corpora.config import DocumentsConfig, QuestionsConfig
from teachers.generation.config import HUMAN, RewritingConfig

# Of a job's sections, those that search has no use for.
_UNUSED = ("examples", "finetune", "generate", "filters", "candidates", "score", "evaluate")

# What all students have in common: the retriever, and the index that it makes of the documents.
_SHARED = ("student.model", "student.kind", "student.encoders", "student.max_tokens", "student.precision")
STUDENT = "student"


class SearchConfig(JobConfig):
    """Teachers rewrite questions; the student before its training is the retriever that they search with."""

    documents: DocumentsConfig
    questions: QuestionsConfig
    rewriting: RewritingConfig = RewritingConfig()
    pools: PoolsConfig = PoolsConfig()
    students: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Further students by name: dotted keys of `student` or `targets` with other values. They learn from the
    same teachers' work, search the same index, and are measured beside the first."""

    timed_requests: int = Field(0, ge=0)
    """Test questions that are timed over HTTP; a teacher rewrites a fifth of them. 0 times nothing."""

    @property
    def names_of_scores(self) -> list[str]:
        """Whose scores become targets: those who rewrite, people among them, and other systems' runs."""
        return [*self.teachers, HUMAN, *self.pools.runs]

    def every_student(self) -> "dict[str, SearchConfig]":
        """The config of each student by its name; the first is `student`.

        Raises:
            ConfigError: a change names no key, or its value is wrong.
        """
        found = {STUDENT: self}
        for name, changes in self.students.items():
            if name == STUDENT or not name.replace("-", "").isalnum():
                raise ConfigError(f"students.{name}: wanted are letters, digits and '-', and not `{STUDENT}`")
            for key in changes:
                if not key.startswith(("student.", "targets.")) or key in _SHARED:
                    raise ConfigError(f"students.{name}: {key}: is the same for all students, or unknown")
            try:
                found[name] = changed(SearchConfig, self, changes)
            except ConfigError as error:
                raise ConfigError(f"students.{name}: {error}") from None
        return found

    @model_validator(mode="after")
    def _is_a_search(self) -> "SearchConfig":
        for section in _UNUSED:
            if section in self.model_fields_set:
                raise ValueError(f"{section}: a search has no such section")
        if HUMAN in self.teachers:
            raise ValueError(f"teachers.{HUMAN}: is the name of people's rewrites")
        for name, teacher in self.teachers.items():
            if not writes(teacher):
                raise ValueError(f"teachers.{name}.kind: {teacher.kind} does not write, and so not rewrite")
        for name in self.pools.runs:
            if name in self.teachers or name == HUMAN or not name.replace("-", "").isalnum():
                raise ValueError(
                    f"pools.runs.{name}: wanted are letters, digits and '-', and no teacher's name"
                )
        if self.student.encoders != "frozen_responses":
            raise ValueError(
                "student.encoders: wanted is frozen_responses, so that the documents' index stays"
            )
        return self


def parse_search(arguments: list[str]) -> tuple[SearchConfig, argparse.Namespace]:
    """The config and the options `config`, `run` and `results`.

    Raises:
        ConfigError: anything is wrong with them.
    """
    parser = option_parser("search.py", "configs/search.yaml")
    parser.add_argument("--results", help="Markdown file whose part of this config's name gets the tables")
    config, options = parse_as(SearchConfig, parser, arguments)
    config.every_student()
    return config, options
