"""The systems of a comparison. Each branches off the base run after its teachers' work, so that no teacher
runs twice: it reads the base's datasets, and has candidates, targets and students of its own.

    RUN/systems/NAME           candidates, scores, targets, and what was measured
    RUN/systems/NAME/seed-0    the student trained with seed 0
"""

from typing import Any

from jobs import stages
from jobs.comparison_config import ComparisonConfig
from jobs.config import JobConfig
from jobs.run_directory import RunDirectory, key_of
from jobs.stages import Job, embedding
from jobs.tracking import Tracker
from serve.index import response_set
from student.encoder import EncoderSource, resolve_model
from student.evaluation import HeldOut, held_out, measure, response_selection, write_measured
from teachers.records import RESPONSE_SET, read_rows, write_rows

SPLITS = ("test", "test_by_sender")
OUT_OF_DOMAIN = "out_of_domain"
_TEACHERS_WORK = frozenset({"examples", "contexts", "responses", "neighbours"})


def base_job(config: ComparisonConfig, run: RunDirectory, tracker: Tracker) -> Job:
    """The job up to the teachers' scores, and the response set that all systems answer from."""
    job = Job(config, run, tracker)
    for stage in (stages.examples, stages.generate, stages.neighbours, stages.candidates, stages.score):
        stage(job)
    stages.targets(job)

    def work() -> dict[str, Any]:
        found = response_set(run.at("targets")).to_pylist()
        write_rows(run.at("response_set"), found, RESPONSE_SET)
        return {"responses": len(found)}

    job.once("response_set", key_of(job.keys["targets"]), work)
    return job


def held_out_sets(base: Job, out_of_domain: str | None) -> dict[str, HeldOut]:
    """What every system is measured on, by the name of the set."""
    config = base.config
    contexts, turns = config.evaluate.contexts, config.student.context_turns
    responses = [row["text"] for row in read_rows(base.run.at("response_set"))]
    splits = SPLITS if config.examples.held_out_senders else SPLITS[:1]
    found = {
        split: held_out(base.run.at("examples"), responses, split, turns, contexts, config.evaluate.seed)
        for split in splits
    }
    if out_of_domain is not None:
        found[OUT_OF_DOMAIN] = response_selection(out_of_domain, turns, contexts)
    return found


def measure_baseline(base: Job, name: str, source: EncoderSource | None, sets: dict[str, HeldOut]) -> Job:
    """Measures what nobody trained: BM25, which is None, or an encoder."""
    job = _branch(base, name, base.config)
    _measure(job, sets, {"untrained": source})
    return job


def run_system(base: Job, config: ComparisonConfig, name: str, sets: dict[str, HeldOut]) -> Job:
    """Trains one system with every seed, and measures it."""
    system = _branch(base, name, config.system(name, config.compare.seeds[0]))
    for stage in (stages.candidates, stages.score, stages.targets):
        stage(system)
    models: dict[str, EncoderSource | None] = {}
    for seed in config.compare.seeds:
        print(f"{name}, seed {seed}:", flush=True)
        trained = seed_job(system, config.system(name, seed), seed)
        stages.train(trained)
        models[f"seed-{seed}"] = trained_student(trained)
        system.keys[f"seed-{seed}"] = trained.keys["train"]
    _measure(system, sets, models)
    return system


def seed_job(system: Job, config: JobConfig, seed: int) -> Job:
    """The job that trains one student on the system's targets."""
    run = RunDirectory(
        system.run.at(f"seed-{seed}"), lender=system.run, borrowed=_TEACHERS_WORK | {"targets"}
    )
    return _job_like(system, config, run)


def trained_student(job: Job) -> EncoderSource:
    """The student that a job trained."""
    return EncoderSource(job.run.at("student"), job.config.student.kind, job.config.student.max_tokens)


def untrained_student(config: JobConfig) -> EncoderSource:
    """The encoder that a job's training begins with."""
    student = config.student
    return EncoderSource(resolve_model(student.model), student.kind, student.max_tokens)


def _branch(base: Job, name: str, config: JobConfig) -> Job:
    run = RunDirectory(base.run.at("systems", name), lender=base.run, borrowed=_TEACHERS_WORK)
    return _job_like(base, config, run)


def _job_like(parent: Job, config: JobConfig, run: RunDirectory) -> Job:
    """A job that goes on from where the parent is."""
    job = Job(config, run, Tracker(None, ".", {}))
    job.store = parent.store
    job.keys = dict(parent.keys)
    return job


def _measure(job: Job, sets: dict[str, HeldOut], models: dict[str, EncoderSource | None]) -> None:
    trained = [job.keys.get(name) for name in models]
    untrained = [source and [source.kind, source.max_tokens] for source in models.values()]
    measured_on = [job.keys["response_set"], job.config.evaluate.model_dump(), sorted(sets)]

    def work() -> dict[str, Any]:
        found = embedding(lambda tally: measure(sets, models, tally))
        write_measured(job.run.at("measured"), sets, found)
        sparsity = {name: measured["test"].sparsity for name, measured in found.items()}
        return {"sparsity": {name: values for name, values in sparsity.items() if values}}

    job.once("measure", key_of(trained, untrained, measured_on), work)
