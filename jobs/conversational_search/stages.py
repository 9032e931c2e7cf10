"""The stages of a search, in order (DiSCo): documents and questions to a student that searches."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from jobs.conversational_search.config import STUDENT, SearchConfig
from jobs.execution.job import Counts, Job, Stage, warn
from jobs.execution.progress import embedding
from jobs.stages.documents import DOCUMENTS
from jobs.stages.latency import time_student, time_teachers, vllm_teachers
from jobs.stages.teacher_inference import generate_samples
from jobs.stages.training import train_stage
from serve.index import IndexContent, write_version
from student.encoders.encoder import EncoderSource, Vectors
from student.encoders.packaged import resolve_model
from student.retrieval.document_vectors import DocumentVectors, read_vectors, write_vectors
from student.retrieval.pools import EncodedDocuments, PoolInputs, PoolOutputs, write_pooled_candidates
from teachers.config import GenerateConfig, Writer, writes
from teachers.corpora.documents import as_response_set
from teachers.corpora.questions import (
    questions_identity,
    write_questions,
    write_validation_examples,
)
from teachers.corpora.trec import read_scores, write_topics
from teachers.dataset import Rows
from teachers.generation.config import HUMAN
from teachers.generation.rewriting import (
    Requests,
    RewritingPrompt,
    as_generation,
    read_prompt,
    write_human_rewrites,
    write_rewrite_targets,
    write_rewrites,
)
from teachers.generation.sampling import StoredSamples
from teachers.inference.store import samples_uri
from teachers.scoring.targets import write_targets

logger = logging.getLogger(__name__)

SearchJob = Job[SearchConfig]

# A student of a search reads these of the first one's run.
_SHARED_DATASETS = ("examples", "questions", "candidates", "scores", "rewrites")


def _write_questions(job: SearchJob) -> Counts:
    """Conversations that end with a question, split by conversation."""
    questions, documents = job.run.at("questions"), job.run.at("documents")
    counts = write_questions(documents, questions, job.run.at("rejected", "questions"), job.config.questions)
    write_validation_examples(questions, documents, job.run.at("examples"))
    return counts


def _rewrite_settings(job: SearchJob) -> list[Any]:
    prompt, generation = _prompt_and_generation(job)
    uris = {}
    for name, teacher in rewriting_teachers(job, prompt).items():
        uris[name] = samples_uri(job.store, teacher, generation)
    return [vars(prompt), uris]


def _rewrite(job: SearchJob) -> Counts:
    """Each teacher rewrites every question so that it stands alone; human rewrites are one teacher more."""
    questions = job.run.at("questions")
    prompt, generation = _prompt_and_generation(job)
    writers, requests = rewriting_teachers(job, prompt), Requests(questions, prompt)
    generate_samples(job.run, job.store, writers, requests, generation)

    counts: Counts = {}
    for name, teacher in writers.items():
        uri = samples_uri(job.store, teacher, generation)
        samples = StoredSamples(uri, requests, teacher, generation)
        counts[name] = write_rewrites(questions, samples, job.run.at("rewrites", name))

        topics = ((row["question_id"], row["query"]) for row in Rows(job.run.at("rewrites", name)))
        write_topics(job.run.at("runs", f"{name}.topics.tsv"), topics)

    counts[HUMAN] = write_human_rewrites(questions, job.run.at("rewrites", HUMAN))
    return counts


def _prompt_and_generation(job: SearchJob) -> tuple[RewritingPrompt, GenerateConfig]:
    return read_prompt(job.config.rewriting), as_generation(job.config.rewriting)


def rewriting_teachers(job: SearchJob, prompt: RewritingPrompt) -> dict[str, Writer]:
    """Return the teachers, with the prompt's own instructions: those of the config are for a chat."""
    writers: dict[str, Writer] = {}
    for name, teacher in job.teachers.items():
        if writes(teacher):
            writers[name] = teacher.model_copy(update={"system_prompt": prompt.system_prompt})
    return writers


def _write_vectors(job: SearchJob) -> Counts:
    """The documents' vectors, by the encoder that stays as it is: whatever is trained, they do not change."""
    encoder = retriever(job.config)
    return embedding(
        lambda tally: write_vectors(job.run.at("documents"), job.run.at("vectors"), encoder, tally)
    )


def _write_pools(job: SearchJob) -> Counts:
    """The teachers' results become each training question's candidates, which all of them score."""
    config = job.config
    runs = {name: read_scores(uri) for name, uri in config.pools.runs.items()}
    inputs = PoolInputs(job.run.at("questions"), job.run.at("documents"), rewrites_uris(job), runs)
    outputs = PoolOutputs(job.run.at("candidates"), scores_uris(job))

    with document_vectors(job) as vectors:
        encoded = EncodedDocuments(vectors, retriever(config))
        return embedding(lambda tally: write_pooled_candidates(inputs, encoded, outputs, config.pools, tally))


def train_students(job: SearchJob) -> dict[str, SearchJob]:
    """Train every student on its targets; return the jobs that did by name, the first being `job`."""
    rewrites, scores = rewrites_uris(job), scores_uris(job)
    vectors = DocumentVectors(job.run.at("documents"), job.run.at("vectors"))

    students = {}
    for name, config in job.config.students_by_name().items():
        student = job
        if name != STUDENT:
            logger.info("student %s:", name)
            student = job.child(config, "students", name, borrows=_SHARED_DATASETS)
        students[name] = student

        student.do(_targets_stage(config, rewrites, scores))
        student.do(train_stage(lambda _: vectors))
    return students


def _targets_stage(
    config: SearchConfig, rewrites: Mapping[str, str], scores: Mapping[str, str]
) -> Stage[SearchConfig]:
    """The stage that writes what a student learns.

    The teachers' scores become one target distribution for each question; or, where the student learns
    embeddings, their rewrites become the texts whose vectors its own are to equal.
    """

    def write_embedding_targets(job: SearchJob) -> Counts:
        questions, targets = job.run.at("questions"), job.run.at("targets")
        return write_rewrite_targets(questions, dict(rewrites), targets, config.targets)

    def write_distributions(job: SearchJob) -> Counts:
        return write_targets(job.run.at("candidates"), dict(scores), job.run.at("targets"), config.targets)

    if config.student.embedding_mse_weight:
        settings = [list(rewrites), config.targets.weights]
        return Stage("targets", ("rewrite",), lambda _: settings, write_embedding_targets)
    settings = [config.targets.model_dump()]
    return Stage(
        "targets", ("pools",), lambda _: settings, write_distributions, lambda _, counts: warn(counts)
    )


def _write_index(job: SearchJob) -> Counts:
    """The documents and their vectors, as they are, with the student that searches them now."""
    config = job.config
    responses = as_response_set(job.run.at("documents"))
    with document_vectors(job) as vectors:
        turns, student = config.student.context_turns, trained_student(job, config)
        content = IndexContent(responses, vectors)
        version = write_version(content, student, job.run.uri, config.index, turns)
    return {"version": version, "documents": len(responses)}


def _time_answers(job: SearchJob) -> Counts:
    """Time searching over HTTP with the first student, and each teacher's rewriting.

    Rewriting comes before a search where there is no such student.
    """
    prompt, generation = _prompt_and_generation(job)
    num_requests = job.config.timed_requests
    requests = list(islice(Requests(job.run.at("questions"), prompt, "test"), num_requests))
    questions = islice(Rows(job.run.at("questions"), "test"), num_requests)
    # One after the other in one go: on the same machine in the same state.
    times = time_teachers(job.run, vllm_teachers(rewriting_teachers(job, prompt)), requests, generation)
    conversations = (row["context"] for row in questions)
    return {"teachers": times, "student": time_student(job.run.uri, conversations, "/search")}


def rewrites_uris(job: SearchJob) -> dict[str, str]:
    """Return where the REWRITES of each teacher lie."""
    uris = {name: job.run.at("rewrites", name) for name in job.teachers}
    human = job.run.at("rewrites", HUMAN)
    if job.config.rewriting.human and any(True for _ in Rows(human)):
        uris[HUMAN] = human
    return uris


def scores_uris(job: SearchJob) -> dict[str, str]:
    """Return where the SCORES of each teacher lie; those that rewrite first, then the runs."""
    return {name: job.run.at("scores", name) for name in (*rewrites_uris(job), *job.config.pools.runs)}


def retriever(config: SearchConfig) -> EncoderSource:
    """Return the student before its training."""
    return EncoderSource.from_config(config.student, resolve_model(config.student.model))


def trained_student(job: SearchJob, config: SearchConfig) -> EncoderSource:
    """Return the student that `job` trained."""
    return replace(retriever(config), model=job.run.at("student"))


@contextmanager
def document_vectors(job: SearchJob) -> Iterator[Vectors]:
    """Yield the documents' vectors [N, D], which a bucket's are copied to a scratch folder for."""
    with tempfile.TemporaryDirectory(prefix="rejoinder-vectors-") as scratch:
        yield read_vectors(job.run.at("vectors"), Path(scratch))


QUESTIONS = Stage(
    "questions",
    ("documents",),
    lambda job: [job.config.questions.model_dump(), questions_identity(job.config.questions), "grades"],
    _write_questions,
)
REWRITE = Stage("rewrite", ("questions",), _rewrite_settings, _rewrite)
VECTORS = Stage(
    "vectors",
    ("documents",),
    lambda job: [getattr(job.config.student, key) for key in ("model", "kind", "max_tokens", "precision")],
    _write_vectors,
)
POOLS = Stage(
    "pools",
    ("vectors", "rewrite"),
    lambda job: [list(scores_uris(job)), job.config.pools.model_dump()],
    _write_pools,
)
INDEX = Stage("index", ("train", "vectors"), lambda job: [job.config.index.model_dump()], _write_index)
LATENCY = Stage(
    "latency",
    ("rewrite", "index"),
    lambda job: [job.config.timed_requests],
    _time_answers,
    applies=lambda job: job.config.timed_requests > 0,
)

TEACHERS_WORK: tuple[Stage[Any], ...] = (DOCUMENTS, QUESTIONS, REWRITE, VECTORS, POOLS)
