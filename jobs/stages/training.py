"""The trainings of every system: a student on its targets, and a teacher on conversations."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from jobs.execution.job import Counts, Job, Stage, warn
from jobs.execution.progress import Progress
from jobs.execution.run_directory import RunDirectory
from jobs.execution.tracking import History, TrainingReports
from jobs.reports.terminal import report_training
from student.config import RESOURCES, StudentConfig
from student.retrieval.document_vectors import DocumentVectors
from student.training.language_model import train_language_model
from student.training.loop import train_student
from student.training.ray_trainer import TrainingLocation
from teachers.config import VllmTeacher
from teachers.engines.weights import model_folder
from teachers.generation.finetuning import learned_key, write_sequences
from teachers.inference.rates import rate_uri, write_rate
from teachers.inference.store import model_uri
from teachers.inference.tasks import Made
from teachers.storage import file_exists

_COMPLETE = "finetuned.json"  # written last into a fine-tuned teacher's folder


def train_stage(vectors: Callable[[Job[Any]], DocumentVectors] | None = None) -> Stage[Any]:
    """Return the stage in which the student learns from TARGETS.

    `vectors` are of the responses, where a frozen encoder has made them before.
    """

    def run(job: Job[Any]) -> Counts:
        reports = training_reports(job)
        key = job.keys["train"]
        job.run.make_folder("train", key)

        start, steps_before = time.monotonic(), reports.steps_done()
        with _progress("student trains", reports):
            counts = train_student(
                job.run.at("targets"),
                job.run.at("examples"),
                TrainingLocation(job.run.at("student"), job.run.at("train"), key),
                job.config.student,
                [History(reports.uri), *job.training_callbacks],
                vectors(job) if vectors else None,
            )
        made = Made(reports.steps_done() - steps_before, time.monotonic() - start)
        if not steps_before:  # of a training that resumes, the start would count for too much
            write_rate(student_rate_uri(job.store, job.config.student), made)
        return counts

    def then(job: Job[Any], counts: Counts) -> None:
        report_training(job.run, training_reports(job).lines())
        warn(counts)

    return Stage("train", ("targets",), _settings, run, then)


def _settings(job: Job[Any]) -> list[Any]:
    # With other resources a training resumes.
    return [job.config.student.model_dump(exclude=set(RESOURCES))]


TRAIN = train_stage()

# Keys of a student that change how long a step takes.
_OF_THE_RATE = {
    "model",
    "kind",
    "encoders",
    "max_tokens",
    "global_batch_size",
    "max_candidates",
    "own_turn_negatives",
    "random_negatives",
    "frozen_layers",
    "precision",
    "micro_batch_size",
    "num_workers",
    "cpus_per_worker",
    "use_gpu",
}


def student_rate_uri(store: str, student: StudentConfig) -> str:
    """Return where a training's steps a second are kept, by what they depend on."""
    return rate_uri(store, "student", student.model_dump(mode="json", include=_OF_THE_RATE))


def training_reports(job: Job[Any]) -> TrainingReports:
    """Return the reports of the student's training, also before it has begun."""
    return TrainingReports(job.run, ("train", job.key(TRAIN), "history.jsonl"), job.tracker)


def finetuned(
    job: Job[Any], name: str, teacher: VllmTeacher, examples: Iterable[dict[str, Any]]
) -> VllmTeacher:
    """Return the teacher with the weights that it has learned, from the store if another run made them.

    `examples` are rows of EXAMPLES of the splits `train` and `validation`, and iterated more than once.
    """
    config = job.config.finetune
    settings = config.model_dump(exclude=set(RESOURCES))
    uri = model_uri(job.store, teacher, learned_key(examples), teacher.system_prompt, settings)
    key = uri.rsplit("/", 1)[-1]
    reports = TrainingReports(job.run, ("finetune", key, "history.jsonl"), job.tracker)

    def work() -> Counts:
        if file_exists(f"{uri}/{_COMPLETE}"):
            return {"from the store": 1}

        sequences = job.run.at("finetune", key, "sequences")
        counts = write_sequences(examples, sequences, name, teacher, config.max_tokens)
        with _progress(f"{name} learns", reports):
            measures = train_language_model(
                sequences,
                model_folder(teacher.model, teacher.revision),
                TrainingLocation(uri, job.run.at("finetune"), key),
                config,
                [History(reports.uri)],
            )
        RunDirectory(uri).write_json(counts | measures, _COMPLETE)
        return counts | measures

    job.once(f"finetune-{name}", key, work)
    return teacher.model_copy(update={"model": uri})


def _progress(label: str, reports: TrainingReports) -> Progress:
    return Progress(
        label, reports.total_steps, "steps", reports.steps_done, reports.validations, reports.losses
    )
