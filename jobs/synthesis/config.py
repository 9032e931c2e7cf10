"""The config of a synthesis: a job's teachers, with documents and a graph in place of conversations."""

import argparse

from pydantic import model_validator

from jobs.config import JobConfig, option_parser, parse_as
from teachers.config import writes
from teachers.corpora.config import DocumentsConfig
from teachers.synthesis.config import ChecksConfig, SynthesisConfig

# Of a job's sections, those that a synthesis has no use for.
_UNUSED = (
    "examples",
    "finetune",
    "generate",
    "candidates",
    "score",
    "targets",
    "student",
    "index",
    "evaluate",
)


class SynthesisJobConfig(JobConfig):
    """Teachers write conversations about documents; `filters` and `checks` say what a turn has to pass."""

    documents: DocumentsConfig
    synthesis: SynthesisConfig = SynthesisConfig()
    checks: ChecksConfig = ChecksConfig()

    @property
    def names_of_scores(self) -> list[str]:
        """Nobody scores; whoever writes is a teacher."""
        return list(self.teachers)

    @model_validator(mode="after")
    def _is_a_synthesis(self) -> "SynthesisJobConfig":
        for section in _UNUSED:
            if section in self.model_fields_set:
                raise ValueError(f"{section}: a synthesis has no such section")
        if "near_duplicates" in self.filters.model_fields_set:
            raise ValueError("filters.near_duplicates: a synthesis has no such key")
        for name, teacher in self.teachers.items():
            if not writes(teacher):
                raise ValueError(f"teachers.{name}.kind: {teacher.kind} does not write")
        for speaker, weights in self.synthesis.writers.items():
            for name, weight in weights.items():
                if name not in self.teachers:
                    raise ValueError(f"synthesis.writers.{speaker}.{name} names no teacher of `teachers`")
                if weight < 0:
                    raise ValueError(f"synthesis.writers.{speaker}.{name}: {weight:g} is below 0")
            if not sum(weights.values()):
                raise ValueError(f"synthesis.writers.{speaker}: all weights are 0")
        return self


def parse_synthesis(arguments: list[str]) -> tuple[SynthesisJobConfig, argparse.Namespace]:
    """The config and the options `config` and `run`.

    Raises:
        ConfigError: anything is wrong with them.
    """
    return parse_as(SynthesisJobConfig, option_parser("synthesise.py", "configs/synthesise.yaml"), arguments)
