"""The config of a synthesis: teachers, documents and a graph to conversations (CoDi)."""

import argparse

from pydantic import model_validator

from jobs.config import Demand, TaughtJobConfig, option_parser, parse_as
from teachers.corpora.config import DocumentsConfig
from teachers.generation.config import FiltersConfig
from teachers.synthesis.config import ChecksConfig, SynthesisConfig


class SynthesisJobConfig(TaughtJobConfig):
    """Teachers write conversations about documents; `filters` and `checks` say what a turn has to pass."""

    filters: FiltersConfig = FiltersConfig()
    documents: DocumentsConfig
    synthesis: SynthesisConfig = SynthesisConfig()
    checks: ChecksConfig = ChecksConfig()

    def demands(self) -> list[Demand]:
        """The teachers', and their sum without labels: all of them write at the same time."""
        demands = super().demands()
        totals = {"CPU": 0.0, "GPU": 0.0}
        for demand in demands:
            for resource, amount in demand.each.items():
                totals[resource] += demand.count * amount
        return [*demands, Demand("teachers, who write at the same time", 1, totals, {})]

    @model_validator(mode="after")
    def _check_sections(self) -> "SynthesisJobConfig":
        self.require_writers()

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
    """Return the config and the options `config` and `run`."""
    return parse_as(SynthesisJobConfig, option_parser("synthesise.py", "configs/synthesise.yaml"), arguments)
