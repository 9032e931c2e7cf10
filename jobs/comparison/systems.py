"""The systems of a comparison. Each branches off the base run after its teachers' work, so that no teacher
runs twice. What it would make just as the base did, it borrows; the rest is its own.

    RUN/systems/NAME           candidates, scores and targets, where they differ; what was measured
    RUN/systems/NAME/seed-0    the student trained with seed 0
"""

from dataclasses import asdict
from typing import Any

import numpy as np

from jobs.comparison.config import BM25, ComparisonConfig, if_there
from jobs.config import ConfigError, JobConfig
from jobs.distillation import stages
from jobs.distillation.stages import embedding
from jobs.execution.inputs import check_inputs, check_resources
from jobs.execution.job import Job
from jobs.execution.run_directory import RunDirectory, key_of
from jobs.execution.tracking import Tracker
from serve.response_set import response_set
from student.encoders.encoder import EncoderSource
from student.encoders.packaged import resolve_model
from student.evaluation.response_ranking import (
    ContextSample,
    HeldOut,
    held_out,
    measure,
    response_selection,
    write_measured,
)
from teachers.dataset import read_rows, write_rows
from teachers.records import RESPONSE_SET

SPLITS = ("test", "test_by_sender")
OUT_OF_DOMAIN = "out_of_domain"
_TEACHERS_WORK = frozenset({"examples", "contexts", "responses", "neighbours"})


def check_systems(config: ComparisonConfig) -> None:
    """Raises ConfigError where what a system names is missing, or the cluster too small for it."""
    for name in config.compare.ladder:
        system = config.system(name, config.compare.seeds[0])
        try:
            check_inputs(system)
            check_resources(system)
        except ConfigError as error:
            raise ConfigError(f"compare.ladder.{name}: {error}") from None


def teachers_work(config: JobConfig, run: RunDirectory, tracker: Tracker) -> Job:
    """The job up to the targets."""
    job = Job(config, run, tracker)
    for stage in (
        stages.examples,
        stages.finetune,
        stages.generate,
        stages.neighbours,
        stages.candidates,
        stages.score,
        stages.targets,
    ):
        stage(job)
    return job


def base_job(config: ComparisonConfig, run: RunDirectory, tracker: Tracker) -> Job:
    """The job up to the targets, and the response set that all systems answer from."""
    job = teachers_work(config, run, tracker)

    def work() -> dict[str, Any]:
        found = response_set(run.at("targets")).to_pylist()
        write_rows(run.at("response_set"), found, RESPONSE_SET)
        return {"responses": len(found)}

    job.once("response_set", key_of(job.keys["candidates"]), work)
    return job


def out_of_domain(config: ComparisonConfig) -> HeldOut | None:
    """The contexts with given candidates; None where there are none.

    Raises:
        ValueError: a row is malformed.
    """
    file = if_there(config.compare.out_of_domain)
    if file is None:
        return None
    return response_selection(file, config.student.context_turns, config.evaluate.contexts)


def held_out_sets(base: Job, outside: HeldOut | None) -> dict[str, HeldOut]:
    """What every system is measured on, by the name of the set."""
    config = base.config
    responses = [row["text"] for row in read_rows(base.run.at("response_set"))]
    splits = SPLITS if config.examples.held_out_senders else SPLITS[:1]
    sample = ContextSample(config.student.context_turns, config.evaluate.contexts, config.evaluate.seed)
    found = {split: held_out(base.run.at("examples"), responses, split, sample) for split in splits}
    return found if outside is None else {**found, OUT_OF_DOMAIN: outside}


def run_systems(base: Job, config: ComparisonConfig, sets: dict[str, HeldOut]) -> dict[str, Job]:
    """The job of each row, measured: of the ladder's systems after a training with every seed."""
    systems = {}
    rows = config.systems()
    for number, name in enumerate(rows, 1):
        print(f"system {number} of {len(rows)}, {name}:", flush=True)
        if name in config.compare.ladder:
            systems[name], models = _trained(base, config, name)
        else:
            systems[name] = branch(base, base.config, "systems", name)
            models = {name: None if name == BM25 else _untrained(config.baseline(name))}
        _measure(systems[name], sets, models)
    return systems


def first_student(systems: dict[str, Job], config: ComparisonConfig) -> Job:
    """The job that trained the student that is served: the system's first seed."""
    name = config.compare.served
    return seed_job(systems[name], config, name, config.compare.seeds[0])


def seed_job(system: Job, config: ComparisonConfig, name: str, seed: int) -> Job:
    """The job that trains one student on the system's targets."""
    borrowed = _TEACHERS_WORK | {"candidates", "scores", "targets"}
    run = RunDirectory(system.run.at(f"seed-{seed}"), lender=system.run, borrowed=borrowed)
    job = _job_like(system, config.system(name, seed), run)
    if f"train-{seed}" in system.keys:
        job.keys["train"] = system.keys[f"train-{seed}"]
    return job


def _trained(base: Job, config: ComparisonConfig, name: str) -> tuple[Job, dict[str, EncoderSource | None]]:
    """The system's job, and its students by name."""
    system = branch(base, config.system(name, config.compare.seeds[0]), "systems", name)
    make_targets(system)
    models: dict[str, EncoderSource | None] = {}
    for seed in config.compare.seeds:
        print(f"{name}, seed {seed}:", flush=True)
        job = seed_job(system, config, name, seed)
        stages.train(job)
        student = job.config.student
        models[f"seed-{seed}"] = EncoderSource(
            job.run.at("student"), student.kind, student.max_tokens, student.precision
        )
        system.keys[f"train-{seed}"] = job.keys["train"]
    return system, models


def _untrained(config: JobConfig) -> EncoderSource:
    """The encoder that a job's training begins with."""
    student = config.student
    return EncoderSource(resolve_model(student.model), student.kind, student.max_tokens, student.precision)


def branch(base: Job, config: JobConfig, *place: str) -> Job:
    """A job that goes on from the base's teachers' work, in a folder of the base's run."""
    borrowed = set(_TEACHERS_WORK)
    if config.candidates == base.config.candidates:
        borrowed |= {"candidates", "scores"}
        if config.targets == base.config.targets:
            borrowed.add("targets")
    run = RunDirectory(base.run.at(*place), lender=base.run, borrowed=frozenset(borrowed))
    return _job_like(base, config, run)


def make_targets(job: Job) -> None:
    """What the job of a branch does not borrow, up to the targets."""
    for part, stage in (
        ("candidates", stages.candidates),
        ("scores", stages.score),
        ("targets", stages.targets),
    ):
        if not job.run.borrows(part):
            stage(job)


def _job_like(parent: Job, config: JobConfig, run: RunDirectory) -> Job:
    """A job that goes on from where the parent is."""
    job = Job(config, run, Tracker(None, ".", {}))
    job.teachers = parent.teachers  # as they are after fine-tuning
    job.store = parent.store
    job.keys = dict(parent.keys)
    return job


def _measure(job: Job, sets: dict[str, HeldOut], models: dict[str, EncoderSource | None]) -> None:
    """Writes `measured`, once for these models and sets, and prints the means of the first set."""
    trained = {name: key for name, key in job.keys.items() if name.startswith("train-")}
    # A trained student's folder moves with the run, and says nothing of its weights.
    untrained = [] if trained else [source and asdict(source) for source in models.values()]

    def work() -> dict[str, Any]:
        found = embedding(lambda tally: measure(sets, models, tally))
        write_measured(job.run.at("measured"), sets, found)
        first = next(iter(sets))
        means = {
            metric: float(np.mean([measured[first].metrics[metric] for measured in found.values()]))
            for metric in ("hits@1/20", "mrr")
        }
        sparsity = {name: measured[first].sparsity for name, measured in found.items()}
        return {"means": means, "sparsity": {name: values for name, values in sparsity.items() if values}}

    measured_on = {name: asdict(of) for name, of in sets.items()}
    means = job.once("measure", key_of(trained, untrained, measured_on), work)["means"]
    print("  " + ", ".join(f"{metric} {value:.3f}" for metric, value in means.items()), flush=True)
