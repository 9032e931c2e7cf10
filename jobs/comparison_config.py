"""What a comparison adds to a job's config: the systems, each a few keys changed."""

import argparse
from typing import Any

from pydantic import Field, ValidationError, field_validator

from jobs.config import ConfigError, JobConfig, first_line, option_parser, parse_as
from teachers.config import Section

BM25, UNTRAINED, UNTRAINED_SPARSE = "bm25", "untrained", "untrained-sparse"


class SystemConfig(Section):
    """One row of the ladder."""

    changes: dict[str, Any] = Field(default_factory=dict)
    """Dotted keys of the job's config with other values."""
    against: list[str] = Field(default_factory=list)
    """The rows that it is tested against; the row above if none is given."""


class CompareConfig(Section):
    """What is compared, and on what."""

    seeds: list[int] = Field([0, 1, 2], min_length=1)
    """Each system is trained once with each."""
    ladder: dict[str, SystemConfig] = Field(min_length=1)
    """Systems by name, which is a folder's, too, from simple to full."""
    served: str
    """The system whose answers are timed over HTTP."""
    judged_contexts: int = Field(150, ge=0)
    """Test contexts for which the teachers judge every system's answer."""
    reading_contexts: int = Field(20, ge=0)
    """Test contexts that the report shows with every system's answer."""
    timed_requests: int = Field(100, ge=0)
    """Of the served student; a teacher gets a fifth of it. 0 times nothing."""
    port: int = Field(8123, ge=1, le=65535)
    """Where the served student listens while it is timed."""
    out_of_domain: str | None = None
    """JSON Lines of `id`, `messages`, 20 `candidates` and `label`; left out where it is absent."""
    ratings: str | None = None
    """JSON Lines of `context_id`, `messages`, `response` and `human_scores`; left out where it is absent."""

    @field_validator("ladder")
    @classmethod
    def _names_are_folder_names(cls, ladder: dict[str, SystemConfig]) -> dict[str, SystemConfig]:
        for name, system in ladder.items():
            if name in (BM25, UNTRAINED, UNTRAINED_SPARSE) or not name.replace("-", "").isalnum():
                raise ValueError(f"{name!r}: wanted are letters, digits and '-', and no baseline's name")
            for other in system.against:
                if other not in (BM25, UNTRAINED, UNTRAINED_SPARSE, *ladder):
                    raise ValueError(f"{name}.against: {other!r} is no system")
        return ladder


class ComparisonConfig(JobConfig):
    """A job's config, which all systems share, and what differs between them."""

    compare: CompareConfig

    def systems(self) -> list[str]:
        """The rows in their order, baselines among them."""
        rows = [BM25, UNTRAINED]
        for name in self.compare.ladder:
            if self.system(name, 0).student.kind != self.student.kind and UNTRAINED_SPARSE not in rows:
                rows.append(UNTRAINED_SPARSE)
            rows.append(name)
        return rows

    def baseline(self, name: str) -> JobConfig:
        """The config whose student, untrained, is the row `name`."""
        if name == UNTRAINED_SPARSE:
            of_kind = (self.system(name, 0) for name in self.compare.ladder)
            return next(config for config in of_kind if config.student.kind == "sparse")
        return self

    def system(self, name: str, seed: int) -> JobConfig:
        """The config of one system's training.

        Raises:
            ConfigError: a change names no key, or its value is wrong.
        """
        # What the file does not say stays unsaid: a sparse student's defaults are not a dense one's.
        content = self.model_dump(mode="json", exclude_unset=True, exclude={"compare"})
        changes = {**self.compare.ladder[name].changes, "student.seed": seed, "tracking.project": None}
        for key, value in changes.items():
            *sections, last = key.split(".")
            section = content
            for part in sections:
                section = section.setdefault(part, {})
            section[last] = value
        try:
            return JobConfig(**content)
        except ValidationError as error:
            raise ConfigError(f"compare.ladder.{name}: {first_line(error)}") from None


def parse_comparison(arguments: list[str]) -> tuple[ComparisonConfig, argparse.Namespace]:
    """The config and the options `config`, `run` and `results`.

    Raises:
        ConfigError: anything is wrong with them or with a system's changes.
    """
    parser = option_parser("compare.py", "configs/bench.yaml")
    parser.add_argument("--results", help="Markdown file whose generated part gets the tables")
    config, options = parse_as(ComparisonConfig, parser, arguments)
    if config.compare.served not in config.compare.ladder:
        raise ConfigError(f"compare.served: {config.compare.served!r} is no system of compare.ladder")
    for name in config.compare.ladder:
        config.system(name, config.compare.seeds[0])
    return config, options
