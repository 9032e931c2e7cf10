"""The stages of a comparison of training sets, in order: questions with replies to a student of each set."""

from collections.abc import Mapping
from typing import Any

from jobs.distillation.stages import embedding, train
from jobs.execution.job import Job
from jobs.execution.run_directory import RunDirectory, key_of
from jobs.execution.tracking import Tracker
from jobs.training_sets.config import GroundedConfig, TrainingSet
from serve.index import write_index
from student.encoders.encoder import EncoderSource
from teachers.corpora.conversations import source_identity
from teachers.corpora.documents import as_response_set
from teachers.corpora.questions import write_questions
from teachers.corpora.training_sets import (
    TrainingSetPart,
    num_examples,
    write_gold_responses,
    write_training_set,
    write_validation_set,
)


def questions(job: Job, config: GroundedConfig) -> None:
    """People's questions, split by conversation, with their replies; and synthesised ones, all to learn."""
    documents, asked = job.run.at("documents"), job.run.at("questions")
    sources = {"questions": config.questions}
    if config.synthesised:
        sources["synthesised"] = config.questions.model_copy(
            update={
                "conversations": config.synthesised,
                "test_conversations": [],
                "qrels": None,
                "validation_share": 0,
                "test_share": 0,
            }
        )

    def work() -> dict[str, Any]:
        counts: dict[str, Any] = {
            name: write_questions(documents, job.run.at(name), job.run.at("rejected", name), of)
            for name, of in sources.items()
        }
        counts["validation examples"] = write_validation_set(asked, documents, job.run.at("examples"))
        counts["replies"] = write_gold_responses(asked, job.run.at("replies"))
        for split in ("train", "test"):
            if not num_examples(asked, split):
                raise ValueError(f"questions: no {split} question has a `response` and `positives`")
        return counts

    # Another job writes these files, and writes them anew.
    synthesised = [source_identity(source) for source in config.synthesised]
    settings = [config.questions.model_dump(), synthesised]
    job.once("questions", key_of(job.keys["documents"], *settings), work)


def students(job: Job, config: GroundedConfig) -> dict[str, Job]:
    """Each set's student; the jobs that trained them by the set's name."""
    found = {}
    for name, of in config.sets.items():
        print(f"set {name}:", flush=True)
        run = RunDirectory(
            job.run.at("sets", name), lender=job.run, borrowed=frozenset({"documents", "examples"})
        )
        found[name] = Job(config, run, Tracker(None, ".", {}))
        found[name].keys = dict(job.keys)
        _targets(found[name], of, parts_of(job, of), config.student.seed)
        train(found[name])
    return found


def student_of(job: Job, config: GroundedConfig, model: str | None = None) -> EncoderSource:
    """The student that `job` trained, or another of its kind."""
    student = config.student
    return EncoderSource(model or job.run.at("student"), student.kind, student.max_tokens, student.precision)


def index(job: Job, config: GroundedConfig, students: Mapping[str, Job]) -> None:
    """The documents become an index that is served, by the student of the first set."""
    first = next(iter(students.values()))

    def work() -> dict[str, Any]:
        responses, student = as_response_set(job.run.at("documents")), student_of(first, config)
        turns = config.student.context_turns
        return embedding(
            lambda tally: write_index(responses, student, job.run.uri, config.index, turns, tally)
        )

    job.once("index", key_of(first.keys["train"], config.index.model_dump()), work)


def parts_of(job: Job, of: TrainingSet) -> list[TrainingSetPart]:
    """The questions of a set."""
    human = num_examples(job.run.at("questions"))
    shares = {"questions": of.human, "synthesised": of.synthesised}
    return [
        TrainingSetPart(job.run.at(name), round(share * human)) for name, share in shares.items() if share
    ]


def _targets(job: Job, of: TrainingSet, parts: list[TrainingSetPart], seed: int) -> None:
    """The questions of a set, with what is right."""

    def work() -> dict[str, Any]:
        counts = write_training_set(parts, job.run.at("documents"), job.run.at("targets"), seed)
        for part in parts:
            name = part.questions_uri.rsplit("/", 1)[-1]
            if counts[name] < part.size:
                print(f"warning: {part.size} {name} are asked for, and there are {counts[name]}", flush=True)
        return counts

    job.once("targets", key_of(job.keys["questions"], of.model_dump(), seed), work)
