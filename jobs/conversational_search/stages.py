"""The stages of a search job, in order (DiSCo): documents and questions to a student that searches."""

import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from jobs.config import JobConfig
from jobs.conversational_search.config import STUDENT, SearchConfig
from jobs.distillation.stages import embedding, train
from jobs.execution.job import Job
from jobs.execution.run_directory import RunDirectory, key_of
from jobs.execution.tracking import Tracker
from jobs.stages.latency import time_all, vllm_teachers
from jobs.stages.teacher_inference import generate_samples
from jobs.synthesis.config import SynthesisJobConfig
from jobs.training_sets.config import GroundedConfig
from serve.index import write_version
from student.encoders.encoder import EncoderSource
from student.encoders.packaged import resolve_model
from student.retrieval.document_vectors import DocumentVectors, read_vectors, write_vectors
from student.retrieval.pools import EncodedDocuments, PoolInputs, PoolOutputs, write_pooled_candidates
from teachers.config import Writer, writes
from teachers.corpora.documents import as_response_set, write_documents
from teachers.corpora.questions import write_questions, write_validation_examples
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


def documents(job: Job, config: SearchConfig | SynthesisJobConfig | GroundedConfig) -> None:
    """The corpus becomes documents, each once."""
    job.once(
        "documents",
        key_of(config.documents.model_dump()),
        lambda: write_documents(
            job.run.at("documents"), job.run.at("rejected", "documents"), config.documents
        ),
    )


def questions(job: Job, config: SearchConfig) -> None:
    """Conversations that end with a question, split by conversation."""

    def work() -> dict[str, Any]:
        counts = write_questions(
            job.run.at("documents"),
            job.run.at("questions"),
            job.run.at("rejected", "questions"),
            config.questions,
        )
        write_validation_examples(job.run.at("questions"), job.run.at("documents"), job.run.at("examples"))
        return counts

    job.once("questions", key_of(job.keys["documents"], config.questions.model_dump()), work)


def rewrite(job: Job, config: SearchConfig) -> None:
    """Each teacher rewrites every question so that it stands alone; people's rewrites stand beside."""
    uri, prompt, generation = (
        job.run.at("questions"),
        read_prompt(config.rewriting),
        as_generation(config.rewriting),
    )
    writers = _writers(job, prompt)
    requests = Requests(uri, prompt)
    folders = {name: samples_uri(job.store, teacher, generation) for name, teacher in writers.items()}

    def work() -> dict[str, Any]:
        generate_samples(job.run, job.store, writers, requests, generation)
        counts: dict[str, Any] = {}
        for name, teacher in writers.items():
            samples = StoredSamples(folders[name], requests, teacher, generation)
            counts[name] = write_rewrites(uri, samples, job.run.at("rewrites", name))
            write_topics(
                job.run.at("runs", f"{name}.topics.tsv"),
                ((row["question_id"], row["query"]) for row in Rows(job.run.at("rewrites", name))),
            )
        counts[HUMAN] = write_human_rewrites(uri, job.run.at("rewrites", HUMAN))
        return counts

    key = key_of(job.keys["questions"], vars(prompt), folders)
    job.once("rewrite", key, work)


def _writers(job: Job, prompt: RewritingPrompt) -> dict[str, Writer]:
    """The teachers, with the prompt's own instructions: those of the config are for a chat."""
    return {
        name: teacher.model_copy(update={"system_prompt": prompt.system_prompt})
        for name, teacher in job.teachers.items()
        if writes(teacher)
    }


def vectors(job: Job, config: SearchConfig) -> None:
    """The documents' vectors, by the encoder that stays as it is: whatever is trained, they do not change."""
    encoder = retriever(config)
    job.once(
        "vectors",
        key_of(
            job.keys["documents"],
            config.student.model,
            config.student.kind,
            config.student.max_tokens,
            config.student.precision,
        ),
        lambda: embedding(
            lambda tally: write_vectors(job.run.at("documents"), job.run.at("vectors"), encoder, tally)
        ),
    )


def pools(job: Job, config: SearchConfig) -> None:
    """What the teachers find becomes each training question's candidates, which all of them score."""
    scores = scores_uris(job, config)

    def work() -> dict[str, Any]:
        runs = {name: read_scores(uri) for name, uri in config.pools.runs.items()}
        with tempfile.TemporaryDirectory(prefix="rejoinder-vectors-") as scratch:
            encoded = EncodedDocuments(read_vectors(job.run.at("vectors"), Path(scratch)), retriever(config))
            inputs = PoolInputs(job.run.at("questions"), job.run.at("documents"), rewrites(job, config), runs)
            outputs = PoolOutputs(job.run.at("candidates"), scores)
            return embedding(
                lambda tally: write_pooled_candidates(inputs, encoded, outputs, config.pools, tally)
            )

    job.once(
        "pools",
        key_of(job.keys["vectors"], job.keys["rewrite"], list(scores), config.pools.model_dump()),
        work,
    )


def students(job: Job, config: SearchConfig) -> dict[str, Job]:
    """Every student learns from its targets; the jobs that trained them by name, the first being `job`."""
    found = {}
    for name, own in config.every_student().items():
        if name != STUDENT:
            print(f"student {name}:", flush=True)
        found[name] = job if name == STUDENT else _branch(job, own, name)
        _targets(found[name], rewrites(job, config), scores_uris(job, config))
        train(found[name], DocumentVectors(job.run.at("documents"), job.run.at("vectors")))
    return found


def _branch(job: Job, config: JobConfig, name: str) -> Job:
    """A job that goes on from the teachers' work of another, in a folder of its run."""
    borrowed = frozenset({"examples", "questions", "candidates", "scores", "rewrites"})
    run = RunDirectory(job.run.at("students", name), lender=job.run, borrowed=borrowed)
    branch = Job(config, run, Tracker(None, ".", {}))
    branch.keys = dict(job.keys)
    return branch


def _targets(job: Job, teachers: dict[str, str], scores: dict[str, str]) -> None:
    """The teachers' scores become one target distribution for each question; or else, where the student
    learns embeddings, their rewrites become the texts whose vectors its own are to equal.
    """
    config = job.config.targets
    if job.config.student.embedding_mse_weight:
        job.once(
            "targets",
            key_of(job.keys["rewrite"], list(teachers), config.weights),
            lambda: write_rewrite_targets(job.run.at("questions"), teachers, job.run.at("targets"), config),
        )
        return
    counts = job.once(
        "targets",
        key_of(job.keys["pools"], config.model_dump()),
        lambda: write_targets(job.run.at("candidates"), scores, job.run.at("targets"), config),
    )
    if "warning" in counts:
        print(f"warning: {counts['warning']}", flush=True)


def index(job: Job, config: SearchConfig) -> None:
    """The documents and their vectors, as they are, with the student that searches them now."""

    def work() -> dict[str, Any]:
        responses = as_response_set(job.run.at("documents"))
        with tempfile.TemporaryDirectory(prefix="rejoinder-vectors-") as scratch:
            found = read_vectors(job.run.at("vectors"), Path(scratch))
            turns = config.student.context_turns
            version = write_version(responses, found, trained(job, config), job.run.uri, config.index, turns)
        return {"version": version, "documents": len(responses)}

    job.once("index", key_of(job.keys["train"], job.keys["vectors"], config.index.model_dump()), work)


def latency(job: Job, config: SearchConfig) -> None:
    """Times searching over HTTP with the first student, and each teacher's rewriting, which comes before a
    search where there is no such student.
    """
    if not config.timed_requests:
        return
    prompt, generation = read_prompt(config.rewriting), as_generation(config.rewriting)
    asked = list(islice(Requests(job.run.at("questions"), prompt, "test"), config.timed_requests))
    questions = islice(Rows(job.run.at("questions"), "test"), config.timed_requests)
    teachers = vllm_teachers(_writers(job, prompt))
    job.once(
        "latency",
        key_of(job.keys["rewrite"], job.keys["index"], config.timed_requests),
        lambda: time_all(
            job.run,
            teachers,
            asked,
            generation,
            job.run.uri,
            (row["context"] for row in questions),
            "/search",
        ),
    )


def rewrites(job: Job, config: SearchConfig) -> dict[str, str]:
    """Teacher -> where its REWRITES lie."""
    uris = {name: job.run.at("rewrites", name) for name in job.teachers}
    human = job.run.at("rewrites", HUMAN)
    if config.rewriting.human and any(True for _ in Rows(human)):
        uris[HUMAN] = human
    return uris


def scores_uris(job: Job, config: SearchConfig) -> dict[str, str]:
    """Teacher -> where its SCORES lie; those that rewrite first, then the runs."""
    return {name: job.run.at("scores", name) for name in (*rewrites(job, config), *config.pools.runs)}


def retriever(config: SearchConfig) -> EncoderSource:
    """The student before its training."""
    student = config.student
    return EncoderSource(resolve_model(student.model), student.kind, student.max_tokens, student.precision)


def trained(job: Job, config: SearchConfig) -> EncoderSource:
    """The student that `job` trained."""
    return replace(retriever(config), model=job.run.at("student"))
