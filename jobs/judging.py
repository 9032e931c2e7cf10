"""What the teachers say of the systems' answers, what people say of responses that teachers score, and how
long a teacher and a student take for an answer."""

from typing import Any

import numpy as np

from jobs.comparison_config import ComparisonConfig
from jobs.run_directory import key_of
from jobs.stages import Job, embedding, scorers
from jobs.teaching import generate_samples, score_pairs, time_answers
from serve.config import ServeConfig
from serve.index import write_index
from serve.latency import answer_latencies_ms
from student.encoder import EncoderSource
from teachers.config import GenerateConfig, TeacherConfig, VllmTeacher, Writer, scores, writes
from teachers.generation import stored_samples
from teachers.latency import latencies_ms
from teachers.ratings import rated_candidates, read_ratings
from teachers.records import CANDIDATES, read_rows, write_rows
from teachers.scoring import write_scores
from teachers.store import pairs_uri, samples_uri

_TEACHERS_SHARE_OF_REQUESTS = 5


def judge_answers(base: Job, config: ComparisonConfig, answers: dict[str, dict[str, str]]) -> None:
    """The generative teachers score every system's answers to some test contexts, the true reply, and one
    that each of them writes; `answers` maps system -> example_id -> answer.

    Leaves CANDIDATES at `judged/candidates` and SCORES at `judged/scores/TEACHER`.
    """
    chosen = held_out_rows(base, config.compare.judged_contexts)
    one_each = base.config.generate.model_copy(update={"samples": 1})
    writers = {name: teacher for name, teacher in base.teachers.items() if writes(teacher)}
    judges = generative_scorers(base)

    def work() -> dict[str, Any]:
        generate_samples(base.run, base.store, writers, chosen, one_each)
        written = _written(base, writers, chosen, one_each)
        rows = [_judged_row(row, written[row["example_id"]], answers) for row in chosen]
        write_rows(base.run.at("judged", "candidates"), rows, CANDIDATES)
        return {"contexts": len(rows), **_score(base, judges, "judged")}

    key = key_of([row["example_id"] for row in chosen], answers, one_each.model_dump(), _uris(base, judges))
    base.once("judge", key, work)


def score_rated(base: Job, ratings_uri: str) -> None:
    """All teachers score the responses that people rated: CANDIDATES and SCORES under `rated`."""
    teachers = scorers(base)

    def work() -> dict[str, Any]:
        write_rows(
            base.run.at("rated", "candidates"), rated_candidates(read_ratings(ratings_uri)), CANDIDATES
        )
        return _score(base, teachers, "rated")

    base.once("rate", key_of(ratings_uri, _uris(base, teachers)), work)


def time_all(base: Job, served: Job, config: ComparisonConfig) -> None:
    """Milliseconds of one answer: of each generative teacher in its actor, and of the student over HTTP.

    `served` is the job that trained the student; it gets an index. One after the other, all in one go, so
    that they are measured on the same machine in the same state.
    """
    requests = config.compare.timed_requests
    chosen = held_out_rows(base, requests)
    teachers = {name: teacher for name, teacher in base.teachers.items() if isinstance(teacher, VllmTeacher)}

    def work() -> dict[str, Any]:
        few = chosen[: max(2, requests // _TEACHERS_SHARE_OF_REQUESTS)]
        timed = time_answers(base.run, teachers, few, base.config.generate)
        own = served.config.student
        source = EncoderSource(served.run.at("student"), own.kind, own.max_tokens)
        embedding(
            lambda tally: write_index(
                served.run.at("targets"),
                source,
                served.run.at("index"),
                served.config.index,
                own.context_turns,
                tally,
            )
        )
        student = answer_latencies_ms(
            ServeConfig(run=served.run.uri, port=config.compare.port), [row["context"] for row in chosen]
        )
        return {
            "teachers": {name: summary(latencies_ms(uri)) for name, uri in timed.items()},
            "student": summary(student),
        }

    base.once("latency", key_of(base.keys, served.keys, requests), work)


def summary(latencies: list[float]) -> dict[str, float] | None:
    """Median, 95th percentile and number of latencies in milliseconds; None where there is none."""
    if not latencies:
        return None
    p50, p95 = np.percentile(latencies, [50, 95])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "requests": len(latencies)}


def held_out_rows(base: Job, count: int) -> list[dict[str, Any]]:
    """The first `count` test rows of EXAMPLES: the same contexts wherever fewer than all are taken."""
    return [row for row in read_rows(base.run.at("examples")) if row["split"] == "test"][:count]


def generative_scorers(base: Job) -> dict[str, TeacherConfig]:
    """Teachers that can judge: those with a likelihood."""
    return {name: teacher for name, teacher in base.teachers.items() if writes(teacher) and scores(teacher)}


def _written(
    base: Job, writers: dict[str, Writer], chosen: list[dict[str, Any]], config: GenerateConfig
) -> dict[str, dict[str, str]]:
    """example_id -> teacher -> what it wrote; what was cut off by the token limit is taken as it is."""
    found: dict[str, dict[str, str]] = {row["example_id"]: {} for row in chosen}
    for name, teacher in writers.items():
        samples = stored_samples(samples_uri(base.store, teacher, config), chosen, teacher, config)
        for example_id, [sample] in samples.items():
            if text := " ".join(sample.text.split()):
                found[example_id][name] = text
    return found


def _judged_row(
    example: dict[str, Any], written: dict[str, str], answers: dict[str, dict[str, str]]
) -> dict[str, Any]:
    """The row of CANDIDATES with the true reply, the teachers' and the systems', each text once."""
    candidates = {example["reply"]: {"text": example["reply"], "source": "gold", "teacher": None}}
    for teacher, text in written.items():
        candidates.setdefault(text, {"text": text, "source": "generated", "teacher": teacher})
    for by_example in answers.values():
        text = by_example[example["example_id"]]
        candidates.setdefault(text, {"text": text, "source": "retrieved", "teacher": None})
    return {
        "example_id": example["example_id"],
        "split": "test",
        "context": example["context"],
        "candidates": list(candidates.values()),
        "for_teachers": True,
    }


def _score(base: Job, teachers: dict[str, TeacherConfig], folder: str) -> dict[str, Any]:
    source = base.run.at(folder, "candidates")
    score_pairs(base.run, base.store, teachers, source, base.config.score)
    return {
        name: write_scores(source, uri, base.run.at(folder, "scores", name))
        for name, uri in _uris(base, teachers).items()
    }


def _uris(base: Job, teachers: dict[str, TeacherConfig]) -> dict[str, str]:
    return {name: pairs_uri(base.store, teacher) for name, teacher in teachers.items()}
