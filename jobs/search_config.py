"""The config of a search job: a job's, with documents and questions in place of examples and responses."""

import argparse

from pydantic import model_validator

from jobs.config import JobConfig, option_parser, parse_as
from student.config import PoolsConfig
from teachers.config import DocumentsConfig, QuestionsConfig, RewritingConfig, writes

# Of a job's sections, those that search has no use for.
_OTHERS = ("examples", "finetune", "generate", "filters", "candidates", "score", "evaluate")


class SearchConfig(JobConfig):
    """Teachers rewrite questions; the student before its training is the retriever that they search with."""

    documents: DocumentsConfig
    questions: QuestionsConfig
    rewriting: RewritingConfig = RewritingConfig()
    pools: PoolsConfig = PoolsConfig()

    @model_validator(mode="after")
    def _is_a_search(self) -> "SearchConfig":
        for section in _OTHERS:
            if section in self.model_fields_set:
                raise ValueError(f"{section}: a search has no such section")
        for name, teacher in self.teachers.items():
            if not writes(teacher):
                raise ValueError(f"teachers.{name}.kind: {teacher.kind} does not write, and so not rewrite")
        if self.student.encoders != "frozen_responses":
            raise ValueError(
                "student.encoders: wanted is frozen_responses, so that the documents' index stays"
            )
        return self


def parse_search(arguments: list[str]) -> tuple[SearchConfig, argparse.Namespace]:
    """The config and the options `config` and `run`.

    Raises:
        ConfigError: anything is wrong with them.
    """
    return parse_as(SearchConfig, option_parser("search.py", "configs/search.yaml"), arguments)
