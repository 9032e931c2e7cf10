"""The systems of a comparison.

Each continues from the base run after its teachers' work, so that no teacher runs twice. It borrows whatever
it would make just as the base did; the rest is its own.

    RUN/systems/NAME           candidates, scores and targets, where they differ; the measures
    RUN/systems/NAME/seed-0    the student trained with seed 0
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from jobs.comparison.config import BM25, OUT_OF_DOMAIN, ComparisonConfig, splits_of
from jobs.distillation.config import DistillationConfig
from jobs.distillation.stages import (
    CANDIDATES,
    SCORE,
    TARGETS,
    DistillationJob,
    driven_user_turns,
    served_ranker,
)
from jobs.execution.job import Counts, Job
from jobs.execution.progress import embedding
from jobs.execution.run_directory import key_of
from jobs.stages.training import TRAIN
from serve.conversations import UserTurns, mean_conversations
from student.encoders.encoder import EncoderSource
from student.encoders.packaged import resolve_model
from student.evaluation.held_out import ContextSample, HeldOut, held_out
from student.evaluation.measured_systems import summarise
from student.evaluation.response_ranking import measure, write_measured
from student.retrieval.reranking import Ranker, Reranked
from teachers import records
from teachers.dataset import read_rows

logger = logging.getLogger(__name__)

ComparisonJob = Job[ComparisonConfig]
Models = dict[str, Ranker | None]
"""Rankers by name; None is BM25."""

_TEACHERS_WORK = frozenset({"examples", "contexts", "responses", "response_set", "neighbours"})


def held_out_sets(base: ComparisonJob, outside: HeldOut | None) -> dict[str, HeldOut]:
    """Return the held-out sets that every system is measured on, by name."""
    config = base.config
    responses = [row["text"] for row in read_rows(base.run.at("response_set"))]

    sample = ContextSample(config.student.context_turns, config.evaluate.contexts, config.evaluate.seed)
    sets = {}
    for split in splits_of(config.examples):
        sets[split] = held_out(base.run.at("examples"), responses, split, sample)
    if outside is not None:
        sets[OUT_OF_DOMAIN] = outside
    return sets


def run_systems(base: ComparisonJob, sets: dict[str, HeldOut]) -> dict[str, DistillationJob]:
    """Return the job of each system, measured: of trained ones after a training with every seed."""
    config = base.config
    names, user_turns = config.system_names(), driven_user_turns(config)

    systems: dict[str, DistillationJob] = {}
    for number, name in enumerate(names, 1):
        logger.info("system %d of %d, %s:", number, len(names), name)
        models: Models
        if name in config.compare.systems:
            systems[name], models = _trained(base, systems, name)
        else:
            systems[name] = branch(base, base.config, "systems", name)
            models = {name: None if name == BM25 else _untrained(base, config.baseline(name))}

        _measure(systems[name], sets, models, user_turns)
    return systems


def first_student(base: ComparisonJob, systems: Mapping[str, DistillationJob]) -> DistillationJob:
    """Return the job that trained the student that is served: the system's first seed."""
    compare = base.config.compare
    name = base.config.trained_as(compare.served)
    return seed_job(base.config, systems[name], name, compare.seeds[0])


def seed_job(config: ComparisonConfig, system: DistillationJob, name: str, seed: int) -> DistillationJob:
    """Return the job that trains one student on the system's targets."""
    borrowed = _TEACHERS_WORK | {"candidates", "scores", "targets"}
    job = system.child(config.system(name, seed), f"seed-{seed}", borrows=borrowed)
    if f"train-{seed}" in system.keys:
        job.keys["train"] = system.keys[f"train-{seed}"]
    return job


def _trained(
    base: ComparisonJob, systems: Mapping[str, DistillationJob], name: str
) -> tuple[DistillationJob, Models]:
    """Train a system with every seed, unless an earlier one has the same training.

    Return its job, and its students by name.
    """
    config = base.config
    system = branch(base, config.system(name, config.compare.seeds[0]), "systems", name)
    trained_as = config.trained_as(name)
    if trained_as == name:
        make_targets(system)

    models: Models = {}
    for seed in config.compare.seeds:
        job = seed_job(config, systems.get(trained_as, system), trained_as, seed)
        if trained_as == name:
            logger.info("%s, seed %d:", name, seed)
            job.do(TRAIN)
        student = EncoderSource.from_config(job.config.student, job.run.at("student"), base.run.at("vectors"))
        models[f"seed-{seed}"] = served_ranker(system.config, student, _untrained(base, system.config))
        system.keys[f"train-{seed}"] = job.keys["train"]
    return system, models


def _untrained(base: ComparisonJob, config: DistillationConfig) -> EncoderSource:
    """Return the encoder that a job's training begins with."""
    model = resolve_model(config.student.model)
    return EncoderSource.from_config(config.student, model, base.run.at("vectors"))


def branch(base: Job[Any], config: DistillationConfig, *folder: str) -> DistillationJob:
    """Return a job that continues from the base's teachers' work, in a folder of the base's run."""
    borrowed = set(_TEACHERS_WORK)
    if config.candidates == base.config.candidates:
        borrowed |= {"candidates", "scores"}
        if config.targets == base.config.targets:
            borrowed.add("targets")
    return base.child(config, *folder, borrows=borrowed)


def make_targets(job: DistillationJob) -> None:
    """Make whatever a branch does not borrow, up to the targets."""
    for dataset, stage in (("candidates", CANDIDATES), ("scores", SCORE), ("targets", TARGETS)):
        if not job.run.borrows(dataset):
            job.do(stage)


def _measure(job: DistillationJob, sets: dict[str, HeldOut], models: Models, user_turns: UserTurns) -> None:
    """Write `measured`, once for these models and sets, and log the means of the first set."""
    trained = {name: key for name, key in job.keys.items() if name.startswith("train-")}
    # A trained student's folder, like the vectors', moves with the run, and says nothing of its weights.
    untrained = (
        [] if trained else [source and {**asdict(source), "store": None} for source in models.values()]
    )
    depths = [ranker.depth for ranker in models.values() if isinstance(ranker, Reranked)]

    def work() -> Counts:
        measured = embedding(lambda tally: measure(sets, models, tally))
        write_measured(job.run.at("measured"), sets, measured)

        first_set = next(iter(sets))
        first = {name: by_set[first_set] for name, by_set in measured.items()}
        sparsity = {name: values.sparsity for name, values in first.items() if values.sparsity}
        return {
            "means": summarise(list(first.values())),
            "sparsity": sparsity,
            "conversations": _conversations(job, models, user_turns),
        }

    contents = {name: asdict(held_out_set) for name, held_out_set in sets.items()}
    means = job.once("measure", key_of(trained, untrained, depths, contents, user_turns), work)["means"]
    logger.info("  %s", ", ".join(f"{metric} {value:.3f}" for metric, value in means.items()))


def _conversations(job: DistillationJob, models: Models, user_turns: UserTurns) -> dict[str, Any]:
    """Return the means over a system's students of the measures of conversations, none of BM25."""
    students = [source for source in models.values() if source is not None]
    if not students:
        return {}

    responses = pa.Table.from_pylist(read_rows(job.run.at("response_set")), records.RESPONSE_SET)
    turns = job.config.student.context_turns
    return embedding(lambda tally: mean_conversations(students, responses, user_turns, turns, tally))
