"""What a comparison adds to a job's config: the systems, each a few keys changed."""

import argparse
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from jobs.config import ConfigError, JobConfig, option_parser, parse_as
from teachers.config import Section

BM25, UNTRAINED, UNTRAINED_SPARSE = "bm25", "untrained", "untrained-sparse"
_UNTRAINED = {"dense": UNTRAINED, "sparse": UNTRAINED_SPARSE}

# The rest of the config says what all systems share: the teachers' work, and how they are measured.
_OWN_SECTIONS = ("candidates", "targets", "student", "index")
SHARED_KEYS = ("candidates.retriever", "student.context_turns", "student.seed")


class SystemConfig(Section):
    """One row of the ladder."""

    changes: dict[str, Any] = Field(default_factory=dict)
    """Dotted keys of the job's config with other values, of `candidates`, `targets`, `student` or `index`."""
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
    out_of_domain: str | None = None
    """JSON Lines of `id`, `messages`, 20 `candidates` and `label`; left out where it is absent."""
    ratings: str | None = None
    """JSON Lines of `context_id`, `messages`, `response` and `human_scores`; left out where it is absent."""

    @field_validator("ladder")
    @classmethod
    def _names_are_folder_names(cls, ladder: dict[str, SystemConfig]) -> dict[str, SystemConfig]:
        for name in ladder:
            if name in (BM25, UNTRAINED, UNTRAINED_SPARSE) or not name.replace("-", "").isalnum():
                raise ValueError(f"{name!r}: wanted are letters, digits and '-', and no baseline's name")
        return ladder


class ComparisonConfig(JobConfig):
    """A job's config, which all systems share, and what differs between them."""

    compare: CompareConfig

    @model_validator(mode="after")
    def _measures_what_there_is(self) -> "ComparisonConfig":
        compare = self.compare
        for key in ("judged_contexts", "reading_contexts"):
            if getattr(compare, key) > self.evaluate.contexts:
                raise ValueError(f"compare.{key}: more than evaluate.contexts = {self.evaluate.contexts}")
        targets = self.targets
        if compare.ratings and (targets.fits_on_validation or targets.temperature == "entropy"):
            raise ValueError("compare.ratings: an ensemble that is fitted cannot be held against ratings")
        return self

    def systems(self) -> list[str]:
        """The rows in their order, baselines among them."""
        rows = [BM25]
        for name in self.compare.ladder:
            untrained = _UNTRAINED[self.system(name, 0).student.kind]
            rows += [row for row in (untrained, name) if row not in rows]
        return rows

    def baseline(self, name: str) -> JobConfig:
        """The config whose student, untrained, is the row `name`."""
        configs = (self, *(self.system(system, 0) for system in self.compare.ladder))
        return next(config for config in configs if _UNTRAINED[config.student.kind] == name)

    def system(self, name: str, seed: int) -> JobConfig:
        """The config of one system's training.

        Raises:
            ConfigError: a change names no key, or its value is wrong.
        """
        changes = self.compare.ladder[name].changes
        for key in changes:
            if key.partition(".")[0] not in _OWN_SECTIONS or "." not in key or key in SHARED_KEYS:
                raise ConfigError(f"compare.ladder.{name}: {key}: is the same for all systems, or unknown")
        try:
            config = self.changed({"student.seed": seed, "tracking.project": None, **changes})
        except ConfigError as error:
            raise ConfigError(f"compare.ladder.{name}: {error}") from None
        if config.candidates.retrieved > self.candidates.retrieved:
            shared = self.candidates.retrieved
            raise ConfigError(f"compare.ladder.{name}: candidates.retrieved: more than the base's {shared}")
        return config


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
    rows = config.systems()
    for name, system in config.compare.ladder.items():
        for other in system.against:
            if other not in rows:
                raise ConfigError(f"compare.ladder.{name}.against: {other!r} is no system")
    return config, options


def if_there(file: str | None) -> str | None:
    """The file or URI, or None with a line where it is not on this machine."""
    if file is None or "://" in file or Path(file).is_file():
        return file
    print(f"left out: {file} is not there")
    return None
