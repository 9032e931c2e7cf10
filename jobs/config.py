"""The part of a config that every job has, and how a config is read from YAML and the command line."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from jobs.command_line import UnknownKeyError, option_pairs, read_value, resolve, set_at
from serve.config import IndexConfig
from student.config import StudentConfig, TrainingConfig
from teachers.config import Section, TeacherConfig, writes
from teachers.storage import without_credentials

# Keys that had another name before the first release.
_RENAMED = {
    "examples.replies": "examples.responses_from",
    "examples.min_reply_words": "examples.min_response_words",
    "student.contexts_per_step": "student.global_batch_size",
    "student.texts_per_forward": "student.micro_batch_size",
    "compare.ladder": "compare.systems",
    "targets.z_score": "targets.scale",
}
_REPORT_ROWS = ("ensemble", "kendall_tau")
_SHOWN_CHARACTERS = 60


class ConfigError(Exception):
    """The user's config is wrong; the message is one line that names the key."""


@dataclass(frozen=True)
class Demand:
    """Processes that have to run at the same time."""

    key: str
    """The config's key that asks for them."""
    count: int
    each: dict[str, float]
    """Ray's resources of one process."""
    node_labels: dict[str, str]


class TrackingConfig(Section):
    """Weights & Biases, offline unless WANDB_MODE says otherwise."""

    project: str | None = "rejoinder"
    """W&B project; null tracks nothing."""


class PlanConfig(Section):
    """Rates and prices of `--plan`, which prints what a job is going to do before it starts."""

    rows_per_s: dict[str, Annotated[float, Field(gt=0)]] = Field({})
    """Rows a second of one replica by the plan's first column, such as `{gemma3 scores: 400}`, steps of a
    training; those last measured in the store where not given."""
    dollars_per_hour: dict[str, float] = Field({})
    """Price of one replica by teacher, and of one of the training's workers as `student`."""
    dollars_per_million_tokens: dict[str, float] = Field({})
    """By teacher, such as an endpoint; read and written tokens alike."""


def _check_teacher_names(teachers: dict[str, TeacherConfig]) -> dict[str, TeacherConfig]:
    """A teacher's name is the name of folders, and of a row of reports."""
    for name in teachers:
        if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ValueError(f"{name!r} has characters other than letters, digits, '.', '-' and '_'")
        if name in _REPORT_ROWS:
            raise ValueError(f"{name!r} is a row of the report; choose another name")
    return teachers


Teachers = Annotated[dict[str, TeacherConfig], Field(min_length=1), AfterValidator(_check_teacher_names)]


class JobConfig(BaseSettings):
    """Sections of every job; a field's dotted name is its option on the command line."""

    model_config = SettingsConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        cli_parse_args=False,
        cli_exit_on_error=False,
        cli_hide_none_type=True,
    )

    store: str | None = None
    """Where teachers' output is kept for all runs, a path or URI; beside the run directory if not given."""
    tracking: TrackingConfig = TrackingConfig()
    plan: PlanConfig = PlanConfig()

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The file alone, under the command line: a stray environment variable changes no result."""
        return (init_settings,)

    def teachers_by_name(self) -> dict[str, TeacherConfig]:
        """The teachers; none in a system without such a section."""
        return {}

    def trainings(self) -> dict[str, TrainingConfig]:
        """Section -> the training that it describes."""
        return {}

    def demands(self) -> list[Demand]:
        """Processes that teachers and trainings need, one group after the other."""
        demands: list[Demand] = []

        for name, teacher in self.teachers_by_name().items():
            each = {"CPU": float(teacher.num_cpus), "GPU": teacher.num_gpus}
            key = f"teachers.{name}.replicas"
            demands.append(Demand(key, teacher.at_least(), each, teacher.node_labels))

        for name, training in self.trainings().items():
            each = {"CPU": float(training.cpus_per_worker), "GPU": float(training.use_gpu)}
            key = f"{name}.num_workers"
            demands.append(Demand(key, training.num_workers, each, training.node_labels))
        return demands

    def without_credentials(self) -> dict[str, Any]:
        """Return the config as JSON has it, with its URIs as they may be shown and kept."""
        content: dict[str, Any] = json.loads(without_credentials(self.model_dump_json()))
        return content

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return the config with other values at dotted keys, see `with_changes`."""
        return with_changes(type(self), self, changes)


class TaughtJobConfig(JobConfig):
    """The config of a job in which teachers work."""

    teachers: Teachers
    """Teachers by a name of your choice; `kind` says which of the three kinds one is."""

    def teachers_by_name(self) -> dict[str, TeacherConfig]:
        return dict(self.teachers)

    def require_writers(self) -> None:
        """Raises ValueError where a teacher does not write."""
        for name, teacher in self.teachers.items():
            if not writes(teacher):
                expected = "a teacher that writes (vllm or endpoint)"
                raise ValueError(f"teachers.{name}.kind: expected {expected}, got {teacher.kind}")


class StudentSections(BaseModel):
    """The sections of a job that trains a student and serves it."""

    student: StudentConfig = StudentConfig()
    index: IndexConfig = IndexConfig()

    def trainings(self) -> dict[str, TrainingConfig]:
        return {"student": self.student}


ConfigT = TypeVar("ConfigT", bound=JobConfig)


def with_changes(kind: type[ConfigT], config: JobConfig, changes: Mapping[str, Any]) -> ConfigT:
    """Return the sections of `kind` in the config, with other values at dotted keys.

    Raises:
        ConfigError: a change names no key, or its value is wrong.
    """
    # What the file leaves out stays out: a sparse student's defaults are not a dense one's.
    content = config.model_dump(mode="json", exclude_unset=True, include=set(kind.model_fields))

    for key, value in changes.items():
        try:
            path, _ = resolve(kind, key)
            set_at(content, path, value, replaces=True)
        except UnknownKeyError:
            raise ConfigError(_with_new_name(f"{key}: unknown key")) from None

    try:
        return kind(**content)
    except ValidationError as error:
        raise ConfigError(first_error(error, content)) from None


def option_parser(program: str, default_config: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every job has beside the config's keys."""
    parser = argparse.ArgumentParser(prog=program, add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", default=default_config, type=Path)
    parser.add_argument("--run", help="run directory, a name under runs/ or a URI")
    parser.add_argument("--plan", action="store_true", help="print the work and its price, and do none")
    parser.add_argument("--quiet", action="store_true", help="show warnings and errors only")
    return parser


def parse_as(
    kind: type[ConfigT], parser: argparse.ArgumentParser, arguments: list[str]
) -> tuple[ConfigT, argparse.Namespace]:
    """Return the config, from the file and the command line over it, and the parser's own options."""
    try:
        options, overrides = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from None

    if {"-h", "--help"} & set(overrides):
        parser.print_help()
        kind(_cli_parse_args=["--help"])  # prints the config's keys, and exits

    if options.plan:
        # A finished run stays as it is.
        options.run = f"{options.run or options.config.stem}-plan"
    content = read_mapping("--config", options.config)
    _apply_options(kind, content, overrides)
    try:
        return kind(**content), options
    except ValidationError as error:
        raise ConfigError(first_error(error, content)) from None


def _apply_options(kind: type[JobConfig], content: dict[str, Any], overrides: list[str]) -> None:
    """Set the values of `--KEY VALUE` in the content of the file; values of a repeated list are put together.

    Raises:
        ConfigError: an option is none, or names no key.
    """
    lists: dict[str, list[Any]] = {}
    try:
        for key, text in option_pairs(overrides):
            try:
                path, value_type = resolve(kind, key)
                value = read_value(value_type, text)
                if isinstance(value, list):
                    value = lists[key] = [*lists.get(key, []), *value]
                set_at(content, path, value)
            except UnknownKeyError:
                raise ConfigError(_with_new_name(f"--{key}: unknown key")) from None
    except ValueError as error:
        raise ConfigError(str(error)) from None


def read_mapping(option: str, path: Path) -> dict[str, Any]:
    """Return the content of the YAML file that `option` names; ConfigError if it is missing or no mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{option} {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{option} {path}: expected UTF-8: {error}") from None
    except RecursionError:
        raise ConfigError(f"{option} {path}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # such as a date that the calendar has not
        raise ConfigError(f"{option} {path}: " + " ".join(str(error).split())) from None

    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(f"{option} {path}: expected a mapping of sections")
    return content


def first_error(error: ValidationError, content: Any) -> str:
    """Return one line: the first wrong key of the content, and what is wrong with it."""
    first = error.errors()[0]
    key = ".".join(_key_parts(first, content))
    if first["type"] == "extra_forbidden":
        return _with_new_name(f"{key}: unknown key")
    if first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{key}: expected a mapping of keys, got {repr(first['input'])[:_SHOWN_CHARACTERS]}"

    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    return f"{key}: {message}" if key else message


def _key_parts(error: ErrorDetails, content: Any) -> list[str]:
    """Return the parts of a wrong key, of a list also the place.

    In between pydantic names the member of a union, such as a teacher's kind or `float`.
    """
    parts: list[str] = []
    for number, part in enumerate(error["loc"], start=1):
        is_missing = error["type"] == "missing" and number == len(error["loc"])
        is_place = isinstance(content, list | tuple) and isinstance(part, int)
        if isinstance(content, dict) and part in content:
            content = content[part]
        elif is_place:
            content = content[int(part)]
        elif not is_missing:
            continue
        parts.append(str(part))
    return parts


def _with_new_name(message: str) -> str:
    """Append the new name of a key that the message names by its old one."""
    for old, new in _RENAMED.items():
        if old in message:
            return f"{message}; it is `{new}` now"
    return message


def check_name(key: str, name: str) -> None:
    """Raises ValueError where a name is more than letters, digits and '-': it is a folder's, too."""
    if not name.replace("-", "").isalnum():
        raise ValueError(f"{key}.{name}: expected letters, digits and '-' only")
