"""The stages of a comparison of training sets, in order: questions to a student of each set."""

import logging
from collections.abc import Mapping
from typing import Any

from jobs.execution.job import Counts, Job, Stage
from jobs.execution.progress import embedding
from jobs.execution.run_directory import key_of
from jobs.stages.training import TRAIN
from jobs.training_sets.config import TrainingSet, TrainingSetsConfig
from serve.indexing import write_index
from student.encoders.encoder import EncoderSource
from teachers.corpora.config import QuestionsConfig
from teachers.corpora.conversations import source_identity
from teachers.corpora.documents import as_response_set
from teachers.corpora.questions import questions_identity, write_questions
from teachers.corpora.training_sets import (
    TrainingSetPart,
    num_examples,
    write_gold_responses,
    write_training_set,
    write_validation_set,
)

logger = logging.getLogger(__name__)

TrainingSetsJob = Job[TrainingSetsConfig]


def _questions_settings(job: TrainingSetsJob) -> list[Any]:
    # Another job writes the synthesised files, and may write them again.
    identities = [source_identity(source) for source in job.config.synthesised]
    return [job.config.questions.model_dump(), questions_identity(job.config.questions), identities, "grades"]


def _write_questions(job: TrainingSetsJob) -> Counts:
    """Human questions, split by conversation, with their responses; synthesised ones are all to learn."""
    documents, questions = job.run.at("documents"), job.run.at("questions")

    counts: Counts = {}
    for name, source in _question_sources(job.config).items():
        counts[name] = write_questions(documents, job.run.at(name), job.run.at("rejected", name), source)
    counts["validation examples"] = write_validation_set(questions, documents, job.run.at("examples"))
    counts["responses"] = write_gold_responses(questions, job.run.at("responses"))

    for split in ("train", "test"):
        if not num_examples(questions, split):
            raise ValueError(f"questions: no {split} question has a `response` and `positives`")
    return counts


def _question_sources(config: TrainingSetsConfig) -> dict[str, QuestionsConfig]:
    """Dataset of the run -> the section that says which files it is from."""
    sources = {"questions": config.questions}
    if config.synthesised:
        all_to_learn = {
            "conversations": config.synthesised,
            "test_conversations": [],
            "qrels": None,
            "validation_share": 0,
            "test_share": 0,
        }
        sources["synthesised"] = config.questions.model_copy(update=all_to_learn)
    return sources


QUESTIONS = Stage("questions", ("documents",), _questions_settings, _write_questions)


def train_students(job: TrainingSetsJob) -> dict[str, TrainingSetsJob]:
    """Train a student on each set; return the jobs that did by the set's name."""
    students = {}
    for name, training_set in job.config.sets.items():
        logger.info("set %s:", name)
        student = job.child(job.config, "sets", name, borrows=("documents", "examples"))
        student.do(_targets_stage(training_set, parts_of(job, training_set)))
        student.do(TRAIN)
        students[name] = student
    return students


def _targets_stage(training_set: TrainingSet, parts: list[TrainingSetPart]) -> Stage[TrainingSetsConfig]:
    """The stage that writes the questions of a set, with the responses and documents that are right."""

    def write(job: TrainingSetsJob) -> Counts:
        seed = job.config.student.seed
        counts = write_training_set(parts, job.run.at("documents"), job.run.at("targets"), seed)
        for part in parts:
            name = part.questions_uri.rsplit("/", 1)[-1]
            if counts[name] < part.size:
                logger.warning("the set needs %d %s, and there are %d", part.size, name, counts[name])
        return counts

    return Stage(
        "targets",
        ("questions",),
        lambda job: [training_set.model_dump(), job.config.student.seed],
        write,
    )


def parts_of(job: TrainingSetsJob, training_set: TrainingSet) -> list[TrainingSetPart]:
    """Return how many questions of which dataset make a set."""
    num_human = num_examples(job.run.at("questions"))
    shares = {"questions": training_set.human, "synthesised": training_set.synthesised}
    return [
        TrainingSetPart(job.run.at(name), round(share * num_human)) for name, share in shares.items() if share
    ]


def write_first_index(job: TrainingSetsJob, students: Mapping[str, TrainingSetsJob]) -> None:
    """Make an index of the documents, which is served, by the student of the first set."""
    config, first = job.config, next(iter(students.values()))

    def work() -> Counts:
        responses = as_response_set(job.run.at("documents"))
        student = EncoderSource.from_config(config.student, first.run.at("student"))
        turns = config.student.context_turns
        return embedding(
            lambda tally: write_index(responses, student, job.run.uri, config.index, turns, tally)
        )

    job.once("index", key_of(first.keys["train"], config.index.model_dump()), work)
