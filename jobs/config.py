"""The whole config of a job: each room's section, composed, from YAML and the command line."""

import argparse
import json
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from serve.config import IndexConfig
from student.config import FinetuneConfig, StudentConfig
from teachers.config import Section, TeacherConfig, scores
from teachers.corpora.config import ExamplesConfig
from teachers.generation.config import GenerateConfig, ResponseFiltersConfig
from teachers.scoring.config import CandidatesConfig, ScoreConfig, TargetsConfig

Stage = Literal[
    "examples",
    "finetune",
    "generate",
    "neighbours",
    "candidates",
    "score",
    "targets",
    "train",
    "index",
    "evaluate",
]
STAGES: tuple[Stage, ...] = (
    "examples",
    "finetune",
    "generate",
    "neighbours",
    "candidates",
    "score",
    "targets",
    "train",
    "index",
    "evaluate",
)


class ConfigError(Exception):
    """The user's config is wrong; the message is one line that names the key."""


class EvaluateConfig(Section):
    """What the student is measured on."""

    contexts: int = Field(600, ge=1)
    """Test contexts; all there are where there are fewer."""
    seed: int = 0
    """Seed of the 19 other candidates."""


class TrackingConfig(Section):
    """Weights & Biases, offline unless WANDB_MODE says otherwise."""

    project: str | None = "rejoinder"
    """W&B project; null tracks nothing."""


class JobConfig(BaseSettings):
    """Every section; the field's dotted name is its option on the command line."""

    model_config = SettingsConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        cli_parse_args=False,
        cli_exit_on_error=False,
        cli_hide_none_type=True,
    )

    teachers: dict[str, TeacherConfig] = Field(min_length=1)
    """Teachers by a name of your choice; `kind` says which of the three kinds one is."""
    store: str | None = None
    """Where teachers' output is kept for all runs, a path or URI; beside the run directory if not given."""
    examples: ExamplesConfig = ExamplesConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    generate: GenerateConfig = GenerateConfig()
    filters: ResponseFiltersConfig = ResponseFiltersConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    score: ScoreConfig = ScoreConfig()
    targets: TargetsConfig = TargetsConfig()
    student: StudentConfig = StudentConfig()
    index: IndexConfig = IndexConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    tracking: TrackingConfig = TrackingConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The file alone, under the command line: a stray environment variable changes no result."""
        return (init_settings,)

    def changed(self, changes: dict[str, Any]) -> "JobConfig":
        """A job's config with other values at dotted keys.

        Raises:
            ConfigError: a change names no key, or its value is wrong.
        """
        return changed(JobConfig, self, changes)

    @property
    def names_of_scores(self) -> list[str]:
        """Whose scores become targets."""
        return [name for name, teacher in self.teachers.items() if scores(teacher)]

    @field_validator("teachers")
    @classmethod
    def _names_are_folder_names(cls, teachers: dict[str, TeacherConfig]) -> dict[str, TeacherConfig]:
        for name in teachers:
            if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
                raise ValueError(f"{name!r} has characters other than letters, digits, '.', '-' and '_'")
            if name in ("ensemble", "kendall_tau"):
                raise ValueError(f"{name!r} is a row of the report")
        return teachers

    @model_validator(mode="after")
    def _sections_agree(self) -> "JobConfig":
        if self.candidates.generated_per_teacher > self.generate.samples:
            raise ValueError(
                f"candidates.generated_per_teacher = {self.candidates.generated_per_teacher} is more than "
                f"generate.samples = {self.generate.samples}"
            )
        for name in self.targets.weights if isinstance(self.targets.weights, dict) else ():
            if name not in self.teachers and name not in self.names_of_scores:
                raise ValueError(f"targets.weights.{name} names no teacher of `teachers`")
        if not self.names_of_scores:
            raise ValueError("no teacher of `teachers` scores")
        if self.targets.fits_on_validation and not self.candidates.validation_contexts:
            raise ValueError("targets: fitting on validation needs candidates.validation_contexts")
        return self


_Config = TypeVar("_Config", bound=JobConfig)


def changed(kind: type[_Config], config: JobConfig, changes: dict[str, Any]) -> _Config:
    """The config, of its `kind`, with other values at dotted keys; see `JobConfig.changed`."""
    # What the file does not say stays unsaid: a sparse student's defaults are not a dense one's.
    content = config.model_dump(mode="json", exclude_unset=True, include=set(kind.model_fields))
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = content
        for part in sections:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ConfigError(f"{key}: unknown key")
        section[last] = value
    try:
        return kind(**content)
    except ValidationError as error:
        raise ConfigError(first_line(error)) from None


def parse(arguments: list[str]) -> tuple[JobConfig, argparse.Namespace]:
    """The config of a job and the options `config`, `until` and `run`.

    Raises:
        ConfigError: anything is wrong with them.
    """
    parser = option_parser("distill.py", "configs/local.yaml")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1])
    parser.add_argument(
        "--deploy", type=int, nargs="?", const=8000, metavar="PORT", help="then serve the run over HTTP"
    )
    return parse_as(JobConfig, parser, arguments)


def option_parser(program: str, default_config: str) -> argparse.ArgumentParser:
    """Of the options that every job has beside the config's keys."""
    parser = argparse.ArgumentParser(prog=program, add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", default=default_config, type=Path)
    parser.add_argument("--run", help="run directory, a name under runs/ or a URI")
    return parser


def parse_as(
    kind: type[_Config], parser: argparse.ArgumentParser, arguments: list[str]
) -> tuple[_Config, argparse.Namespace]:
    """The config, from the file and the command line over it, and the parser's own options.

    Raises:
        ConfigError: anything is wrong with them.
    """
    try:
        options, overrides = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from None
    if {"-h", "--help"} & set(overrides):
        parser.print_help()
    try:
        return kind(_cli_parse_args=_teachers_as_json(overrides), **_read(options.config)), options
    except ValidationError as error:
        raise ConfigError(first_line(error)) from None
    except SettingsError as error:
        raise ConfigError(str(error).splitlines()[0]) from None


def _teachers_as_json(overrides: list[str]) -> list[str]:
    """`--teachers.NAME.KEY VALUE` as the JSON that pydantic-settings wants for a mapping.

    All in one, for of two mappings of one teacher it takes the last one alone.
    """
    rewritten: list[str] = []
    teachers: dict[str, dict[str, Any]] = {}
    rest = [part for word in overrides for part in (word.split("=", 1) if word.startswith("--") else [word])]
    while rest:
        word = rest.pop(0)
        if not word.startswith("--teachers."):
            rewritten.append(word)
            continue
        try:
            _, name, key = word.split(".", 2)
            teachers.setdefault(name, {})[key] = yaml.safe_load(rest.pop(0))
        except (ValueError, IndexError):
            raise ConfigError(f"{word}: wanted is --teachers.NAME.KEY VALUE") from None
    return rewritten + (["--teachers", json.dumps(teachers)] if teachers else [])


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"--config {path}: " + " ".join(str(error).split())) from None
    if not isinstance(content, dict):
        raise ConfigError(f"--config {path}: not a mapping of sections")
    return content


def first_line(error: ValidationError) -> str:
    """Which key of a config is wrong, and how."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    if parts[:1] == ["teachers"] and len(parts) > 3:
        del parts[2:3]  # pydantic names the teacher's kind there
    key = ".".join(parts)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    return f"{key}: {message}" if key else message
