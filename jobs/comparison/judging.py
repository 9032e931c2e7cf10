"""Judgements of systems' answers and of rated responses, and the latency of systems and teachers."""

from itertools import islice
from typing import Any

from jobs.comparison.systems import ComparisonJob
from jobs.distillation.stages import INDEX, DistillationJob, scorers, writers
from jobs.execution.inputs import pinned
from jobs.execution.job import Counts, Job
from jobs.execution.run_directory import key_of
from jobs.stages.latency import time_student, time_teachers, vllm_teachers
from jobs.stages.teacher_inference import generate_samples, score_pairs
from teachers.config import TeacherConfig, scores, writes
from teachers.dataset import Rows, write_rows
from teachers.generation.judged_candidates import judged_candidates
from teachers.generation.sampling import StoredSamples
from teachers.inference.store import Row, pairs_uri, samples_uri
from teachers.records import CANDIDATES
from teachers.scoring.pair_scores import write_scores
from teachers.scoring.ratings import Rated, rated_candidates

Answers = dict[str, dict[str, str]]
"""System -> example_id -> its answer."""


def judge(base: ComparisonJob, answers: Answers, ratings: list[Rated]) -> None:
    """Have teachers and judges score every system's answers to some test contexts, and rated responses.

    Beside the answers stand the responses they are compared with, see `judged_candidates`. Leaves CANDIDATES
    at `judged/candidates` and SCORES at `judged/scores/NAME`.
    """
    contexts = held_out_rows(base, base.config.compare.judged_contexts)
    rated = rated_candidates(ratings)
    if not contexts and not rated:
        return

    one_sample = base.config.generate.model_copy(update={"samples": 1})
    answers_by_context: dict[str, dict[str, str]] = {row["example_id"]: {} for row in contexts}
    for example_id, by_system in answers_by_context.items():
        for name, texts in answers.items():
            by_system[name] = texts[example_id]

    def work() -> Counts:
        generate_samples(base.run, base.store, writers(base), contexts, one_sample)
        samples = {}
        for name, teacher in writers(base).items():
            uri = samples_uri(base.store, teacher, one_sample)
            samples[name] = StoredSamples(uri, contexts, teacher, one_sample)
        rows = judged_candidates(contexts, samples, answers_by_context, base.config.evaluate.seed)
        write_rows(base.run.at("judged", "candidates"), rows + rated, CANDIDATES)
        return _score(base)

    sources = []
    for teacher in writers(base).values():
        sources.append([samples_uri(base.store, teacher, one_sample), teacher.system_prompt])
    pairs = {name: pairs_uri(base.store, scorer) for name, scorer in judging_scorers(base).items()}
    base.once("judge", key_of(base.keys["examples"], answers_by_context, rated, sources, pairs), work)


def _score(base: ComparisonJob) -> Counts:
    candidates = base.run.at("judged", "candidates")
    score_pairs(base.run, base.store, judging_scorers(base), candidates, base.config.score)

    counts = {}
    for name, scorer in judging_scorers(base).items():
        scores_uri = base.run.at("judged", "scores", name)
        counts[name] = write_scores(candidates, pairs_uri(base.store, scorer), scores_uri)
    return counts


def judging_scorers(base: ComparisonJob) -> dict[str, TeacherConfig]:
    """Return the teachers that score, and the judges that taught nobody."""
    return scorers(base) | pinned(base.config.compare.judges)


def judges(base: ComparisonJob) -> list[str]:
    """Return the judges of answers: without any in the config, the teachers with a likelihood.

    A frozen retriever is what the students are made of.
    """
    teachers = [name for name, teacher in base.teachers.items() if writes(teacher) and scores(teacher)]
    return list(base.config.compare.judges) or teachers


def held_out_rows(base: Job[Any], count: int) -> list[Row]:
    """Return the first `count` test rows of EXAMPLES, which are the same contexts for every count."""
    return list(islice(Rows(base.run.at("examples"), "test"), count))


def time_systems(base: ComparisonJob, served: DistillationJob, requests: int) -> None:
    """Time the teachers' answers and those of the student of `served`, a job that gets an index."""
    served.do(INDEX)
    contexts = held_out_rows(base, requests)
    teachers = vllm_teachers(base.teachers)
    uris = [samples_uri(base.store, teacher, base.config.generate) for teacher in teachers.values()]

    def work() -> Counts:
        # One after the other in one go: on the same machine in the same state.
        times = time_teachers(base.run, teachers, contexts, base.config.generate)
        conversations = (row["context"] for row in contexts)
        return {"teachers": times, "student": time_student(served.run.uri, conversations, "/respond")}

    base.once("latency", key_of(base.keys["examples"], served.keys["index"], uris, requests), work)
