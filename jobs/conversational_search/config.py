"""The config of a conversational search: documents and questions to a student that searches (DiSCo)."""

import argparse
from typing import Any

from pydantic import Field, model_validator

from jobs.config import (
    ConfigError,
    StudentSections,
    TaughtJobConfig,
    check_name,
    option_parser,
    parse_as,
)
from student.config import PoolsConfig
from teachers.corpora.config import DocumentsConfig, QuestionsConfig
from teachers.generation.config import HUMAN, RewritingConfig
from teachers.scoring.config import TargetsConfig

# What all students have in common: the retriever, and the index that it makes of the documents.
_SHARED_KEYS = (
    "student.model",
    "student.kind",
    "student.encoders",
    "student.max_tokens",
    "student.precision",
)
STUDENT = "student"


class SearchConfig(StudentSections, TaughtJobConfig):
    """Teachers rewrite questions; the student before its training is the retriever that they search with."""

    targets: TargetsConfig = TargetsConfig()
    documents: DocumentsConfig
    questions: QuestionsConfig
    rewriting: RewritingConfig = RewritingConfig()
    pools: PoolsConfig = PoolsConfig()
    students: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Further students by name: dotted keys of `student` or `targets` with other values. They learn from the
    same teachers' work, search the same index, and are measured beside the first."""

    timed_requests: int = Field(0, ge=0)
    """Test questions that are timed over HTTP; a teacher rewrites a fifth of them. 0 times nothing."""

    def students_by_name(self) -> "dict[str, SearchConfig]":
        """Return the config of each student; the first is `student`.

        Raises:
            ConfigError: a change names no key, or its value is wrong.
        """
        configs = {STUDENT: self}

        for name, changes in self.students.items():
            if name == STUDENT or not name.replace("-", "").isalnum():
                raise ConfigError(
                    f"students.{name}: expected a name of letters, digits and '-', other than `{STUDENT}`"
                )
            for key in changes:
                if not key.startswith(("student.", "targets.")) or key in _SHARED_KEYS:
                    raise ConfigError(f"students.{name}: {key}: is the same for all students, or unknown")
            try:
                configs[name] = self.changed(changes)
            except ConfigError as error:
                raise ConfigError(f"students.{name}: {error}") from None
        return configs

    @model_validator(mode="after")
    def _check_sections(self) -> "SearchConfig":
        self.require_writers()
        if HUMAN in self.teachers:
            raise ValueError(f"teachers.{HUMAN}: is the name of human rewrites; choose another")

        for name in self.pools.runs:
            check_name("pools.runs", name)
            if name in self.teachers or name == HUMAN:
                raise ValueError(f"pools.runs.{name}: is the name of a teacher; choose another")

        scorers = {*self.teachers, *self.pools.runs}
        with_human = {*scorers, HUMAN}
        self.targets.check_weights(with_human, with_human if self.rewriting.human else scorers)

        # The documents' vectors and their index then stay as they are.
        if self.student.encoders != "frozen_responses":
            raise ValueError(
                f"student.encoders: expected frozen_responses in a search, got {self.student.encoders}"
            )
        if self.targets.fits_on_validation:
            raise ValueError("targets: expected fixed temperature and weights in a search")
        return self


def parse_search(arguments: list[str]) -> tuple[SearchConfig, argparse.Namespace]:
    """Return the config and the options `config`, `run` and `results`."""
    parser = option_parser("search.py", "configs/search.yaml")
    parser.add_argument("--results", help="Markdown file whose part of this config's name gets the tables")
    config, options = parse_as(SearchConfig, parser, arguments)
    config.students_by_name()
    return config, options
