"""The work of a distillation, counted before a teacher starts."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from jobs.distillation.config import DistillationConfig
from jobs.distillation.stages import CONTEXTS, EXAMPLES, DistillationJob, scorers, writers
from jobs.execution.job import Job, Stage
from jobs.reports.plan import Work
from jobs.stages.plan import training_work, writing_work
from teachers.config import EndpointTeacher, SimilarityTeacher, VllmTeacher
from teachers.dataset import Rows
from teachers.engines.token_counts import MeanTokens, mean_tokens
from teachers.inference.rates import read_rate, teacher_rate_uri
from teachers.scoring.candidates import OWN_TURNS, RANKED_CANDIDATES, num_training_contexts
from teachers.scoring.pair_scores import scoring

# What has to be done to count the work; no teacher is asked.
COUNTING: tuple[Stage[Any], ...] = (EXAMPLES, CONTEXTS)


def planned_work(job: DistillationJob) -> list[Work]:
    """Return the work of teachers and student; reads the conversations, as the job itself does."""
    job.do_all(COUNTING)
    return [*teachers_work(job), student_work(job, job.config, "trains")]


def teachers_work(job: Job[Any]) -> Iterator[Work]:
    """Yield what the teachers are to write and to score."""
    tokens = {name: mean_tokens(name, teacher, _contexts(job)) for name, teacher in job.teachers.items()}
    yield from _learning(job)
    yield from _writing(job, tokens)
    yield from _scoring(job, tokens)


def student_work(job: Job[Any], config: DistillationConfig, task: str) -> Work:
    """Return one training of the student."""
    num_contexts = num_training_contexts(job.run.at("examples"), job.run.at("contexts"), config.candidates)
    return training_work(job.store, config.student, num_contexts, task)


def _contexts(job: Job[Any]) -> Rows:
    return Rows(job.run.at("contexts"))


def _learning(job: Job[Any]) -> Iterator[Work]:
    epochs = job.config.finetune.epochs
    num_examples = job.run.read_json("stages", "examples.json")["counts"]["train examples"]
    for name, teacher in job.teachers.items():
        if epochs and isinstance(teacher, VllmTeacher):
            yield Work(name, "learns", "conversations", epochs * num_examples)


def _writing(job: Job[Any], tokens: Mapping[str, MeanTokens | None]) -> Iterator[Work]:
    for name, teacher in writers(job).items():
        means = tokens[name]
        a_sample = sum(means) if means else None
        work = writing_work(job.store, name, teacher, _contexts(job), job.config.generate, a_sample)
        if job.config.finetune.epochs:  # the store has what the teacher wrote before
            rows = work.rows + (work.num_stored or 0)
            all_tokens = None if a_sample is None else rows * a_sample
            work = replace(work, rows=rows, num_stored=0, tokens=all_tokens)
        yield work


def _scoring(job: Job[Any], tokens: Mapping[str, MeanTokens | None]) -> Iterator[Work]:
    """Yield the pairs of all contexts, and for generative teachers each response alone, too.

    As if none were stored and no filter dropped a response: that is known only when responses are written.
    """
    num_contexts, num_pairs = _num_scored(job)
    for name, teacher in scorers(job).items():
        means, task = tokens[name], scoring(job.config.score)
        num_rows = num_pairs if isinstance(teacher, SimilarityTeacher) else 2 * num_pairs
        # A server is sent the context with each response; an engine reads it once.
        num_prompts = num_pairs if isinstance(teacher, EndpointTeacher) else num_contexts
        yield Work(
            name,
            task.name,
            task.unit,
            num_rows,
            num_stored=None,
            tokens=num_prompts * means.prompt + num_rows * means.response if means else None,
            rows_per_s=read_rate(teacher_rate_uri(job.store, teacher, task)),
            replicas=teacher.at_most(),
        )


def _num_scored(job: Job[Any]) -> tuple[int, int]:
    """Return the number of contexts that are scored, and at most how many pairs."""
    config = job.config.candidates
    examples = job.run.read_json("stages", "examples.json")["counts"]
    num_ranked = min(config.evaluation_contexts, examples["test examples"])
    num_ranked += min(config.validation_contexts, examples["validation examples"])

    num_contexts = job.run.read_json("stages", "contexts.json")["counts"]["contexts"]
    if config.scored_contexts is not None:
        num_contexts = min(num_contexts, config.scored_contexts)
    num_generated = len(writers(job)) * config.generated_per_teacher
    num_candidates = 1 + num_generated + config.retrieved + config.random
    num_pairs = num_contexts * num_candidates + num_ranked * (RANKED_CANDIDATES + OWN_TURNS)
    return num_contexts + num_ranked, num_pairs
