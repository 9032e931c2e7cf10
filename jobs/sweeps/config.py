"""A sweep's file, in W&B's format, as `wandb sweep` reads it: the part of it that Ray Tune follows, too."""

from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from jobs.comparison.config import SHARED_KEYS
from jobs.config import ConfigError, first_error, read_mapping
from jobs.distillation.config import DistillationConfig

_BRANCHES = ("targets.", "student.")
_VALIDATED = ("mrr", "hits@1/20", "loss", "context_terms", "response_terms", "flops")
Method = Literal["grid", "random", "bayes"]


class Parameter(BaseModel):
    """The values of one dotted key."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    value: Any = None
    """The same in every trial."""
    values: list[Any] | None = Field(None, min_length=1)
    """One of these."""
    min: float | None = None
    """With `max`: any number from here."""
    max: float | None = None
    """Up to here."""
    distribution: (
        Literal["constant", "categorical", "uniform", "int_uniform", "log_uniform_values"] | None
    ) = None
    """Of the numbers; where not given, whole ones if `min` and `max` are whole."""

    @model_validator(mode="after")
    def _check_alternatives(self) -> Self:
        is_range = self.min is not None or self.max is not None
        # A `value` of null counts: W&B's agent passes None.
        if ("value" in self.model_fields_set) + (self.values is not None) + is_range != 1:
            raise ValueError("expected one of `value`, `values`, or `min` and `max`")

        if self.values and len(set(map(repr, self.values))) < len(self.values):
            raise ValueError("values has one of them twice")

        if is_range:
            if self.min is None or self.max is None or self.min >= self.max:
                raise ValueError("min has to be below max")
            if self.distribution == "log_uniform_values" and self.min <= 0:
                raise ValueError("min has to be above 0")
            if self.distribution in ("constant", "categorical"):
                raise ValueError(f"{self.distribution} goes with `value` or `values`")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are whole ones, as W&B takes them."""
        if self.distribution is not None:
            return self.distribution == "int_uniform"
        return self.min is not None and self.max is not None and self.min % 1 == self.max % 1 == 0


class Metric(BaseModel):
    """What a trial is judged by."""

    model_config = ConfigDict(extra="forbid")

    name: str
    goal: Literal["maximize", "minimize"]

    @property
    def mode(self) -> Literal["max", "min"]:
        """The goal, as Ray Tune names it."""
        return "max" if self.goal == "maximize" else "min"


class EarlyTermination(BaseModel):
    """The validations, by number, at which a trial goes on only if it is among the best 1/`eta` of those that
    came so far."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    type: Literal["hyperband"]
    min_iter: int | None = Field(None, ge=1)
    """The first of them; the next is `eta` times as late, and so on without an end."""
    max_iter: int | None = Field(None, ge=1)
    """With `s`: the last of them is 1/`eta` of it, the one before 1/`eta` of that."""
    s: int | None = Field(None, ge=1)
    """With `max_iter`: how many there are."""
    eta: float = Field(3, gt=1)
    """The default is W&B's."""
    strict: Literal[False] = False
    """W&B's strict mode is not followed."""

    @model_validator(mode="after")
    def _check_first(self) -> Self:
        if (self.max_iter is None) != (self.s is None) or (self.min_iter is None) == (self.max_iter is None):
            raise ValueError("expected `min_iter`, or `max_iter` with `s`")
        if self.first < 1:
            raise ValueError(f"max_iter / eta ** s is {self.first:.2g}, which is before the first validation")
        return self

    @property
    def first(self) -> float:
        """The first validation at which trials are stopped."""
        if self.max_iter is None or self.s is None:
            return float(self.min_iter or 1)
        return float(self.max_iter / self.eta**self.s)

    @property
    def last(self) -> float | None:
        """The last one, if there is a last."""
        return None if self.max_iter is None else self.max_iter / self.eta


class SweepConfig(BaseModel):
    """The sweep. What only W&B's agent reads, such as `command`, is let pass."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)

    name: str = "sweep"
    """The group of the trials' W&B runs."""
    method: Method
    """All combinations, drawn ones, or such as were good so far suggest (Optuna)."""
    metric: Metric
    run_cap: int = Field(10, ge=1)
    """Trials, where the method is not `grid`."""
    early_terminate: EarlyTermination | None = None
    """Where given, trials that lag behind are stopped."""
    parameters: dict[str, Parameter] = Field(min_length=1)

    @field_validator("metric")
    @classmethod
    def _is_a_validation_metric(cls, metric: Metric) -> Metric:
        if metric.name not in {f"train/validation_{name}" for name in _VALIDATED}:
            expected = ", ".join(f"train/validation_{name}" for name in _VALIDATED)
            raise ValueError(f"unknown metric {metric.name!r}; expected one of {expected}")
        return metric

    @model_validator(mode="after")
    def _check_parameters(self) -> Self:
        for key, parameter in self.parameters.items():
            if self.method == "grid" and parameter.min is not None:
                raise ValueError(f"parameters.{key}: a grid needs `values`")
            if not key.startswith(_BRANCHES) or key in SHARED_KEYS:
                raise ValueError(
                    f"parameters.{key}: expected keys of targets and student, which ask no teacher"
                )
        return self

    @property
    def may_repeat(self) -> bool:
        """Whether the same settings may be drawn twice."""
        parameters = self.parameters.values()
        return self.method != "grid" and all(one.min is None or one.is_whole for one in parameters)

    def largest(self, key: str, default: float) -> float:
        """Return the largest value that a parameter takes; `default` of what is none."""
        parameter = self.parameters.get(key)
        if parameter is None:
            return default
        values = [parameter.max, parameter.value, *(parameter.values or ())]
        return max(float(value) for value in values if isinstance(value, int | float))

    @property
    def num_trials(self) -> int:
        """How many trials there are."""
        if self.method != "grid":
            return self.run_cap
        return prod(len(parameter.values or [0]) for parameter in self.parameters.values())


def read_sweep(file: Path, config: DistillationConfig) -> SweepConfig:
    """Return the sweep of a file, for a distillation's config.

    Raises:
        ConfigError: it is missing or wrong, or one of its values is wrong for the config.
    """
    content = read_mapping("--sweep", file)
    try:
        sweep = SweepConfig(**content)
    except ValidationError as error:
        raise ConfigError(f"--sweep {file}: {first_error(error, content)}") from None

    if sweep.method == "bayes" and find_spec("optuna") is None:
        raise ConfigError(f"--sweep {file}: method: bayes needs Optuna, of the extra `sweep`")
    for key, parameter in sweep.parameters.items():
        _check_values(file, key, parameter, config)
    return sweep


def _check_values(file: Path, key: str, parameter: Parameter, config: DistillationConfig) -> None:
    """Raises ConfigError where one of the parameter's values, or an end of its range, is wrong."""
    ends = [parameter.min, parameter.max] if parameter.min is not None else [parameter.value]

    for value in parameter.values or ends:
        setting = int(value) if parameter.is_whole and value is not None else value
        try:
            config.changed({key: setting})
        except ConfigError as error:
            raise ConfigError(f"--sweep {file}: parameters.{error}") from None
