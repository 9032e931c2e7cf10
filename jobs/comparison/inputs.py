"""Checks of a comparison's data, weights and systems, and the files that are read before it starts."""

from collections.abc import Callable
from itertools import islice

from jobs.comparison.config import ComparisonConfig, existing_file, splits_of
from jobs.config import ConfigError
from jobs.distillation import inputs as distillation
from jobs.distillation.config import DistillationConfig
from jobs.execution.cluster import check_resources
from jobs.execution.inputs import check_teachers
from jobs.execution.job import Job
from student.evaluation.held_out import HeldOut, response_selection
from teachers.corpora.row_files import read_files
from teachers.dataset import Rows
from teachers.scoring.ratings import Rated, read_ratings


def check_inputs(config: ComparisonConfig) -> None:
    """Raises ConfigError where data or weights that the config or one of its systems names are missing."""
    distillation.check_inputs(config)
    check_teachers(config.compare.judges, "compare.judges")
    _check_systems(config, distillation.check_inputs)


def check_examples(job: Job[ComparisonConfig]) -> None:
    """Raises ValueError where the examples are too few for a system's training or for the measures."""
    config = job.config
    distillation.check_examples(job, splits_of(config.examples))

    _check_label_curve(job)
    num_examples = job.run.read_json("stages", "examples.json")["counts"]["train examples"]
    for name in config.compare.systems:
        try:
            config.system(name, config.compare.seeds[0]).student.num_steps(num_examples)
        except ValueError as error:
            raise ValueError(f"compare.systems.{name}: {error}") from None


def _check_label_curve(job: Job[ComparisonConfig]) -> None:
    """Raises ValueError where a point of the curve has all conversations, and so is `all`."""
    curve = job.config.compare.label_curve
    if curve is None:
        return

    examples = Rows(job.run.at("examples"), "train")
    num_conversations = len({example["conversation_id"] for example in examples})
    for number in curve.conversations:
        if number != "all" and number >= num_conversations:
            raise ValueError(
                f"compare.label_curve.conversations: expected `all` or less than the {num_conversations} "
                f"training conversations, got {number}"
            )


def check_system_resources(config: ComparisonConfig) -> None:
    """Raises ConfigError where the cluster is too small for a system."""
    _check_systems(config, check_resources)


def _check_systems(config: ComparisonConfig, check: Callable[[DistillationConfig], None]) -> None:
    for name in config.compare.systems:
        try:
            check(config.system(name, config.compare.seeds[0]))
        except ConfigError as error:
            raise ConfigError(f"compare.systems.{name}: {error}") from None


def human_ratings(config: ComparisonConfig) -> list[Rated]:
    """Return the responses that people rated; none without such a file, ValueError for a malformed row."""
    file = existing_file(config.compare.ratings)
    return [] if file is None else read_ratings(file)


def out_of_domain(config: ComparisonConfig) -> HeldOut | None:
    """Return the contexts with candidates of their own, if any; ValueError for a malformed row."""
    file = existing_file(config.compare.out_of_domain)
    if file is None:
        return None
    rows = islice(read_files(file, ["candidates"]), config.evaluate.contexts)
    return response_selection(rows, config.student.context_turns)
