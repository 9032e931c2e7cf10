"""The config of a comparison: a distillation's, and the systems, each a few keys changed."""

import argparse
import logging
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from jobs.config import ConfigError, option_parser, parse_as, with_changes
from jobs.distillation.config import DistillationConfig
from teachers.config import Section, TeacherConfig
from teachers.corpora.config import ExamplesConfig

logger = logging.getLogger(__name__)

BM25, UNTRAINED, UNTRAINED_SPARSE = "bm25", "untrained", "untrained-sparse"
OUT_OF_DOMAIN = "out_of_domain"
# Its contexts have twenty candidates each, and no response set.
OUT_OF_DOMAIN_METRICS = ("hits@1/20", "mrr")
_UNTRAINED = {"dense": UNTRAINED, "sparse": UNTRAINED_SPARSE}

# The rest of the config says what all systems share: the teachers' work, and how they are measured.
_OWN_SECTIONS = ("candidates", "targets", "student", "index")
SHARED_KEYS = ("candidates.retriever", "student.context_turns", "student.seed")


class SystemConfig(Section):
    """One trained system of the comparison."""

    changes: dict[str, Any] = Field(default_factory=dict)
    """Dotted keys of the job's config with other values, of `candidates`, `targets`, `student` or `index`."""
    against: list[str] = Field(default_factory=list)
    """The systems that it is tested against; the one above if none is given."""


NumConversations = Annotated[int, Field(ge=0)] | Literal["all"]
Metric = Literal["hits@1/20", "mrr", "recall@1", "recall@10", "recall@100", "ndcg@10", "hits@1/20+own"]


class ClaimConfig(Section):
    """A difference that the comparison is made to show, named before it is measured."""

    system: str
    """The system that is claimed to be better."""
    against: str
    """The one that it is claimed to be better than."""
    metric: Metric = "mrr"
    """By which measure."""
    held_out: Literal["test", "test_by_sender", "out_of_domain"] = "test"
    """On which contexts."""


class LabelCurveConfig(Section):
    """Systems with human responses of N conversations: `full-N`, and `human-N` without teachers."""

    conversations: list[NumConversations] = Field(min_length=1)
    """Each N, or `all`; with 0 nothing can be learned without teachers."""
    metric: Metric = "hits@1/20+own"
    """What the curve is drawn of."""
    without_teachers: dict[str, Any] = Field(
        default_factory=lambda: {
            "candidates.generated_per_teacher": 0,
            "candidates.scored_contexts": 0,
            "student.kl_weight": 0,
        }
    )
    """Dotted keys with other values in each `human-N`."""

    def points(self) -> list[tuple[NumConversations, str, str | None]]:
        """Return each N with its two systems; there is none without teachers where N is 0."""
        return [
            (number, f"full-{number}", f"human-{number}" if number else None) for number in self.conversations
        ]

    def systems(self) -> dict[str, SystemConfig]:
        """Return the systems by name, each `human-N` before the `full-N` that is tested against it."""
        systems = {}
        for number, full, human in self.points():
            changes = {"candidates.human_conversations": None if number == "all" else number}
            if human is not None:
                systems[human] = SystemConfig(changes={**changes, **self.without_teachers})
            systems[full] = SystemConfig(changes=changes, against=[human] if human else [])
        return systems


class CompareConfig(Section):
    """What is compared, and on what."""

    seeds: list[int] = Field([0, 1, 2], min_length=1)
    """Each system is trained once with each."""
    systems: dict[str, SystemConfig] = Field(default_factory=dict)
    """Systems by name, which is a folder's, too, from simple to full."""
    label_curve: LabelCurveConfig | None = None
    """Further systems, before those: a learning curve over conversations with human responses."""
    claims: dict[str, ClaimConfig] = Field(default_factory=dict)
    """What is claimed, in words: two systems and a measure each. Their p-values are corrected together."""
    served: str
    """The system whose answers are timed over HTTP."""
    judges: dict[str, TeacherConfig] = Field(default_factory=dict)
    """Scorers that taught no system, by name; where there are none, the teachers judge."""
    judged_contexts: int = Field(150, ge=0)
    """Test contexts for which every system's answer is judged."""
    reading_contexts: int = Field(20, ge=0)
    """Test contexts that the report shows with every system's answer."""
    timed_requests: int = Field(100, ge=0)
    """Of the served student; a teacher gets a fifth of it. 0 times nothing."""
    out_of_domain: str | None = None
    """JSON Lines of `id`, `messages`, 20 `candidates` and `label`; left out where it is absent."""
    ratings: str | None = None
    """JSON Lines of `context_id`, `messages`, `response` and `human_scores`; left out where it is absent."""

    @field_validator("systems")
    @classmethod
    def _names_are_folder_names(cls, systems: dict[str, SystemConfig]) -> dict[str, SystemConfig]:
        for name in systems:
            if name in (BM25, UNTRAINED, UNTRAINED_SPARSE) or not name.replace("-", "").isalnum():
                raise ValueError(f"{name!r}: expected letters, digits and '-', and no baseline's name")
        return systems

    @model_validator(mode="after")
    def _add_systems_of_the_curve(self) -> Self:
        if self.label_curve is not None:
            self.systems = {**self.label_curve.systems(), **self.systems}
        return self


class ComparisonConfig(DistillationConfig):
    """A distillation's config, which all systems share, and what differs between them."""

    compare: CompareConfig

    @model_validator(mode="after")
    def _check_comparison(self) -> "ComparisonConfig":
        compare = self.compare
        if not compare.systems:
            raise ValueError("compare.systems: expected at least one, or a `label_curve`")
        for key in ("judged_contexts", "reading_contexts"):
            if getattr(compare, key) > self.evaluate.contexts:
                raise ValueError(f"compare.{key}: more than evaluate.contexts = {self.evaluate.contexts}")

        if shared := self.teachers.keys() & compare.judges.keys():
            raise ValueError(f"compare.judges: {', '.join(sorted(shared))}: is the name of a teacher, too")

        for claim, tested in compare.claims.items():
            if tested.held_out not in self.held_out_names():
                raise ValueError(
                    f"compare.claims.{claim}.held_out: {tested.held_out}: nothing is held out so"
                )
            if tested.held_out == OUT_OF_DOMAIN and tested.metric not in OUT_OF_DOMAIN_METRICS:
                expected = ", ".join(OUT_OF_DOMAIN_METRICS)
                raise ValueError(f"compare.claims.{claim}.metric: out of domain one of {expected}")

        targets = self.targets
        if compare.ratings and (targets.fits_on_validation or targets.temperature == "entropy"):
            raise ValueError(
                "compare.ratings: expected an ensemble that is not fitted to be held against them"
            )
        return self

    def system_names(self) -> list[str]:
        """The systems in their order, baselines among them."""
        names = [BM25]
        for name in self.compare.systems:
            untrained = _UNTRAINED[self.system(name, 0).student.kind]
            for system in (untrained, name):
                if system not in names:
                    names.append(system)
        return names

    def held_out_names(self) -> tuple[str, ...]:
        """Return the names of the sets of contexts that systems are measured on."""
        outside = (OUT_OF_DOMAIN,) if self.compare.out_of_domain else ()
        return (*splits_of(self.examples), *outside)

    def baseline(self, name: str) -> DistillationConfig:
        """Return the config whose student, untrained, is the baseline `name`."""
        configs: list[DistillationConfig] = [self]
        configs += [self.system(system, 0) for system in self.compare.systems]
        return next(config for config in configs if _UNTRAINED[config.student.kind] == name)

    def system(self, name: str, seed: int) -> DistillationConfig:
        """Return the config of one system's training.

        Raises:
            ConfigError: a change names no key, or its value is wrong.
        """
        place = f"compare.systems.{name}"
        changes = self.compare.systems[name].changes
        for key in changes:
            if key.partition(".")[0] not in _OWN_SECTIONS or "." not in key or key in SHARED_KEYS:
                raise ConfigError(f"{place}: {key}: is the same for all systems, or unknown")

        try:
            settings = {"student.seed": seed, "tracking.project": None, **changes}
            config = with_changes(DistillationConfig, self, settings)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None

        if config.candidates.retrieved > self.candidates.retrieved:
            shared = self.candidates.retrieved
            raise ConfigError(f"{place}: candidates.retrieved: more than the base's {shared}")
        return config

    def trained_as(self, name: str) -> str:
        """Return the first system with the same training: they differ in the index alone, if at all."""
        training = self.system(name, 0).model_dump(exclude={"index"})
        return next(
            other
            for other in self.compare.systems
            if self.system(other, 0).model_dump(exclude={"index"}) == training
        )


def parse_comparison(arguments: list[str]) -> tuple[ComparisonConfig, argparse.Namespace]:
    """Return the config and the options `config`, `run` and `results`."""
    parser = option_parser("compare.py", "configs/bench.yaml")
    parser.add_argument("--results", help="Markdown file whose generated part gets the tables")
    config, options = parse_as(ComparisonConfig, parser, arguments)

    systems = config.compare.systems
    if config.compare.served not in systems:
        raise ConfigError(_unknown_system("compare.served", config.compare.served, list(systems)))

    names = config.system_names()
    for name, system in systems.items():
        for other in system.against:
            if other not in names:
                raise ConfigError(_unknown_system(f"compare.systems.{name}.against", other, names))
    for claim, tested in config.compare.claims.items():
        for key, name in (("system", tested.system), ("against", tested.against)):
            if name not in names:
                raise ConfigError(_unknown_system(f"compare.claims.{claim}.{key}", name, names))
    return config, options


def _unknown_system(key: str, name: str, names: list[str]) -> str:
    return f"{key}: unknown system {name!r}; expected one of {', '.join(names)}"


def splits_of(examples: ExamplesConfig) -> tuple[str, ...]:
    """Return the splits that systems are measured on."""
    return ("test", "test_by_sender") if examples.held_out_senders else ("test",)


def existing_file(file: str | None) -> str | None:
    """Return the file or URI; None, with a line, where it is not on this machine."""
    if file is None or "://" in file or Path(file).is_file():
        return file
    logger.info("left out: %s does not exist", file)
    return None
