"""What the teachers are asked beside their work: to judge the systems' answers and responses that people
rated. And how long a teacher and a student take for an answer."""

from itertools import islice
from typing import Any

from jobs.comparison.config import ComparisonConfig, if_there
from jobs.distillation.stages import index, scorers
from jobs.execution.job import Job
from jobs.execution.run_directory import key_of
from jobs.stages.latency import time_all, vllm_teachers
from jobs.stages.teacher_inference import generate_samples, score_pairs
from teachers.config import Writer, scores, writes
from teachers.dataset import Rows, write_rows
from teachers.generation.config import GenerateConfig
from teachers.generation.sampling import StoredSamples
from teachers.inference.store import pairs_uri, samples_uri
from teachers.records import CANDIDATES
from teachers.scoring.pair_scores import write_scores
from teachers.scoring.ratings import Rated, rated_candidates, read_ratings

Answers = dict[str, dict[str, str]]
"""System -> example_id -> its answer."""


def people_ratings(config: ComparisonConfig) -> list[Rated]:
    """The responses that people rated; none where there is no such file.

    Raises:
        ValueError: a row is malformed.
    """
    file = if_there(config.compare.ratings)
    return [] if file is None else read_ratings(file)


def judge(base: Job, config: ComparisonConfig, answers: Answers, ratings: list[Rated]) -> None:
    """The teachers score every system's answers to some test contexts, the true reply and one that each of
    them writes, and the responses that people rated.

    Leaves CANDIDATES at `judged/candidates` and SCORES at `judged/scores/TEACHER`.
    """
    chosen = held_out_rows(base, config.compare.judged_contexts)
    once_each = base.config.generate.model_copy(update={"samples": 1})
    writers = {name: teacher for name, teacher in base.teachers.items() if writes(teacher)}
    pairs = {name: pairs_uri(base.store, teacher) for name, teacher in scorers(base).items()}
    source = base.run.at("judged", "candidates")
    shown = {
        row["example_id"]: {name: of[row["example_id"]] for name, of in answers.items()} for row in chosen
    }
    rated = rated_candidates(ratings)
    if not chosen and not rated:
        return

    def work() -> dict[str, Any]:
        generate_samples(base.run, base.store, writers, chosen, once_each)
        written = _written(base, writers, chosen, once_each)
        rows = [_judged_row(row, written[row["example_id"]], shown[row["example_id"]]) for row in chosen]
        write_rows(source, rows + rated, CANDIDATES)
        score_pairs(base.run, base.store, scorers(base), source, base.config.score)
        return {
            name: write_scores(source, uri, base.run.at("judged", "scores", name))
            for name, uri in pairs.items()
        }

    written_by = [
        [samples_uri(base.store, teacher, once_each), teacher.system_prompt] for teacher in writers.values()
    ]
    base.once("judge", key_of(base.keys["examples"], shown, rated, written_by, pairs), work)


def judges(base: Job) -> list[str]:
    """Teachers with a likelihood: a frozen retriever would judge by what the students are made of."""
    return [name for name, teacher in base.teachers.items() if writes(teacher) and scores(teacher)]


def held_out_rows(base: Job, count: int) -> list[dict[str, Any]]:
    """The first `count` test rows of EXAMPLES: the same contexts wherever fewer than all are taken."""
    return list(islice(Rows(base.run.at("examples"), "test"), count))


def _written(
    base: Job, writers: dict[str, Writer], chosen: list[dict[str, Any]], config: GenerateConfig
) -> dict[str, dict[str, str]]:
    """example_id -> teacher -> what it wrote; what was cut off by the token limit is taken as it is."""
    found: dict[str, dict[str, str]] = {row["example_id"]: {} for row in chosen}
    for name, teacher in writers.items():
        samples = StoredSamples(samples_uri(base.store, teacher, config), chosen, teacher, config)
        for example_id, [sample] in samples:
            if text := " ".join(sample.text.split()):
                found[example_id][name] = text
    return found


def _judged_row(example: dict[str, Any], written: dict[str, str], answers: dict[str, str]) -> dict[str, Any]:
    """The row of CANDIDATES with the true reply, the teachers' and the systems', each text once."""
    candidates = {
        example["gold_response"]: {"text": example["gold_response"], "source": "gold", "teacher": None}
    }
    for teacher, text in written.items():
        candidates.setdefault(text, {"text": text, "source": "generated", "teacher": teacher})
    for text in answers.values():
        candidates.setdefault(text, {"text": text, "source": "retrieved", "teacher": None})
    return {
        "example_id": example["example_id"],
        "split": "test",
        "context": example["context"],
        "candidates": list(candidates.values()),
        "for_teachers": True,
    }


def time_systems(base: Job, served: Job, requests: int) -> None:
    """Times the teachers' answers and those of the student of `served`, a job that gets an index."""
    index(served)
    chosen = held_out_rows(base, requests)
    teachers = vllm_teachers(base.teachers)
    asked = [samples_uri(base.store, teacher, base.config.generate) for teacher in teachers.values()]
    base.once(
        "latency",
        key_of(base.keys["examples"], served.keys["index"], asked, requests),
        lambda: time_all(
            base.run,
            teachers,
            chosen,
            base.config.generate,
            served.run.uri,
            (row["context"] for row in chosen),
            "/respond",
        ),
    )
