"""The stages of a job, in order. Each names its inputs and its output; the rooms do the work.

A stage's key hashes its section of the config and the keys of the stages before it. A stage whose
marker in `stages/` carries the same key is done and is not done again.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from jobs.config import JobConfig
from jobs.progress import Tally, progress
from jobs.report import report_metrics
from jobs.run_directory import RunDirectory, key_of
from jobs.tracking import History, Tracker
from serve.index import write_index
from student.encoder import resolve_model
from student.evaluation import evaluate_student
from student.metrics import hits_from_ranks
from student.retrieval import write_neighbours
from student.training import train_student
from teachers.candidates import write_candidates
from teachers.config import TeacherConfig
from teachers.examples import write_examples
from teachers.generation import write_responses
from teachers.records import EXAMPLES, read_rows, write_rows
from teachers.scoring import write_scores
from teachers.targets import gold_ranks, write_targets

_Result = TypeVar("_Result")

# What a teacher runs on does not change what it says.
_RESOURCES = {"num_cpus", "num_gpus", "replicas", "kv_cache_gib"}


class Job:
    """One job: its config, its run directory, its tracker, and the keys of the stages so far."""

    def __init__(self, config: JobConfig, run: RunDirectory, tracker: Tracker) -> None:
        self.config = config
        self.run = run
        self.tracker = tracker
        self.keys: dict[str, str] = {}

    def once(self, stage: str, key: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Does the work unless it is done; returns its counts."""
        self.keys[stage] = key
        marker = self.run.read_json("stages", f"{stage}.json")
        if marker is not None and marker["key"] == key:
            print(f"{stage}: done before in {marker['seconds']:.0f} s")
            counts: dict[str, Any] = marker["counts"]
            return counts
        print(f"{stage} …", flush=True)
        start = time.monotonic()
        counts = dict(work())
        seconds = time.monotonic() - start
        self.run.write_json({"key": key, "seconds": seconds, "counts": counts}, "stages", f"{stage}.json")
        shown = ", ".join(f"{name} {count}" for name, count in counts.items() if isinstance(count, int))
        print(f"{stage}: {seconds:.0f} s" + (f" · {shown}" if shown else ""), flush=True)
        return counts


def examples(job: Job) -> None:
    """Conversations become (context, reply) examples, split by conversation."""
    config = job.config.examples
    job.once(
        "examples",
        key_of(config.model_dump()),
        lambda: write_examples(job.run.at("examples"), job.run.at("rejected", "examples"), config),
    )


def generate(job: Job) -> None:
    """Each teacher writes responses to the training contexts that the teachers see."""
    config = job.config.generate
    contexts = job.run.at("contexts")
    shared = key_of(job.keys["examples"], config.model_dump(exclude={"batch_size"}))

    def draw() -> dict[str, Any]:
        training = [row for row in read_rows(job.run.at("examples")) if row["split"] == "train"]
        write_rows(contexts, training[: config.contexts], EXAMPLES)
        return {"contexts": min(config.contexts, len(training))}

    total = job.once("contexts", shared, draw)["contexts"]
    for name, teacher in job.config.teachers.items():
        stage = f"generate-{name}"
        key = key_of(shared, teacher.model_dump(exclude=_RESOURCES))

        def write(name: str = name, teacher: TeacherConfig = teacher, key: str = key) -> dict[str, Any]:
            with _teacher_progress(job, f"responses/{name}/{key}", f"{name} writes", total) as (rows, check):
                write_responses(contexts, rows, check, name, teacher, config)
            return _count_generations(read_rows(rows))

        job.once(stage, key, write)


def candidates(job: Job) -> None:
    """Gold, generated, retrieved and random replies become each context's candidates."""
    student, config = job.config.student, job.config.candidates
    model = resolve_model(student.model)
    job.once(
        "neighbours",
        key_of(
            job.keys["examples"], student.model, student.max_tokens, student.context_turns, config.retrieved
        ),
        lambda: _embedding(
            lambda tally: write_neighbours(
                job.run.at("examples"),
                job.run.at("neighbours"),
                model,
                student.max_tokens,
                student.context_turns,
                config.retrieved,
                tally,
            )
        ),
    )
    generated = {name: job.keys[f"generate-{name}"] for name in job.config.teachers}
    job.once(
        "candidates",
        key_of(job.keys["neighbours"], generated, config.model_dump()),
        lambda: write_candidates(
            job.run.at("examples"),
            {name: job.run.at("responses", name, key, "rows") for name, key in generated.items()},
            job.run.at("neighbours"),
            job.run.at("candidates"),
            config,
        ),
    )


def score(job: Job) -> None:
    """Each teacher scores every candidate of the contexts that the teachers see."""
    source = job.run.at("candidates")
    total = job.run.read_json("stages", "candidates.json")["counts"]["contexts for teachers"]
    for name, teacher in job.config.teachers.items():
        key = key_of(job.keys["candidates"], teacher.model_dump(exclude=_RESOURCES))

        def write(name: str = name, teacher: TeacherConfig = teacher, key: str = key) -> dict[str, Any]:
            with _teacher_progress(job, f"scores/{name}/{key}", f"{name} scores", total) as (rows, check):
                write_scores(source, rows, check, name, teacher, job.config.score)
            scored = read_rows(rows)
            failed = [row for row in scored if row["error"] is not None]
            return {
                "contexts": len(scored),
                "pairs": sum(len(row["bytes"]) for row in scored),
                "contexts set aside": len(failed),
            }

        job.once(f"score-{name}", key, write)


def targets(job: Job) -> None:
    """The teachers' scores become one target distribution per context."""
    config = job.config.targets
    scores = {name: job.keys[f"score-{name}"] for name in job.config.teachers}
    job.once(
        "targets",
        key_of(job.keys["candidates"], scores, config.model_dump()),
        lambda: write_targets(job.run.at("candidates"), _scores_uris(job), job.run.at("targets"), config),
    )


def train(job: Job) -> None:
    """The student learns from the targets."""
    config = job.config.student
    key = key_of(job.keys["targets"], config.model_dump())

    def work() -> dict[str, Any]:
        history = ("train", key, "history.jsonl")
        job.run.make_folder("train", key)
        reports = _Reports(job, history)
        total = reports.total_steps()
        with progress("student trains", lambda: total, "steps", reports.steps_done, reports.newest):
            counts = train_student(
                job.run.at("targets"),
                job.run.at("student"),
                job.run.at("train"),
                key,
                config,
                [History(job.run.at(*history))],
            )
        return dict(counts)

    job.once("train", key, work)


def index(job: Job) -> None:
    """The response set, embedded by the student, becomes the index that is served."""
    student, config = job.config.student, job.config.index
    job.once(
        "index",
        key_of(job.keys["train"], config.model_dump()),
        lambda: _embedding(
            lambda tally: write_index(
                job.run.at("targets"),
                job.run.at("student"),
                job.run.at("index"),
                student.max_tokens,
                config,
                student.context_turns,
                tally,
            )
        ),
    )


def evaluate(job: Job) -> None:
    """BM25, the untrained and the trained student, and the teachers, on held-out conversations."""
    config, student = job.config.evaluate, job.config.student

    def work() -> dict[str, Any]:
        systems = _embedding(
            lambda tally: evaluate_student(
                job.run.at("examples"),
                f"{job.run.at('index')}/responses.parquet",
                {"untrained student": resolve_model(student.model), "student": job.run.at("student")},
                student,
                config.contexts,
                config.seed,
                tally,
            )
        )
        ranks = gold_ranks(job.run.at("candidates"), _scores_uris(job), job.config.targets, "test")
        found = {name: hits_from_ranks(values) for name, values in ranks.items() if values}
        metrics = {"systems": systems, "teachers": found}
        job.tracker.log(
            {
                f"eval/{system}/{name}": value
                for values_of in metrics.values()
                for system, values in values_of.items()
                for name, value in values.items()
            }
        )
        return metrics

    metrics = job.once("evaluate", key_of(job.keys["index"], job.keys["targets"], config.model_dump()), work)
    report_metrics(job.run, metrics)


class _Reports:
    """Reads the training history that the controller writes, for progress and tracking."""

    def __init__(self, job: Job, history: tuple[str, ...]) -> None:
        self._job = job
        self._history = history
        self._logged = 0

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self._job.run.read_text(*self._history) or "").splitlines()]

    def total_steps(self) -> int:
        config = self._job.config.student
        contexts: int = self._job.run.read_json("stages", "candidates.json")["counts"]["training contexts"]
        return max(1, config.epochs * (contexts // (config.num_workers * config.contexts_per_step)))

    def steps_done(self) -> int:
        return max((line["step"] for line in self._lines()), default=0)

    def newest(self) -> str | None:
        new = self._lines()[self._logged :]
        for line in new:
            self._job.tracker.log({f"train/{name}": value for name, value in line.items()})
        self._logged += len(new)
        if not new:
            return None
        last = new[-1]
        return f"loss {last['loss']:.4f}, cross-entropy {last['cross_entropy']:.4f}, KL {last['kl']:.4f}"


def _scores_uris(job: Job) -> dict[str, str]:
    return {
        name: job.run.at("scores", name, job.keys[f"score-{name}"], "rows") for name in job.config.teachers
    }


def _count_generations(rows: list[dict[str, Any]]) -> dict[str, int]:
    counts = {"kept": sum(len(row["responses"]) for row in rows)}
    for row in rows:
        for generation in row["rejected"]:
            counts[generation["reason"]] = counts.get(generation["reason"], 0) + 1
    counts["contexts set aside"] = sum(row["error"] is not None for row in rows)
    return counts


def _embedding(work: Callable[[Tally], _Result]) -> _Result:
    """The result of a work that embeds texts, with progress over them."""
    tally = Tally()
    with progress("texts embedded", tally.total, "texts", tally.done):
        return work(tally)


@contextmanager
def _teacher_progress(job: Job, folder: str, label: str, total: int) -> Iterator[tuple[str, str]]:
    """Progress over a teacher's rows on disk, with its sanity check shown once; gives both URIs.

    A failed check leaves as the ValueError it was in the actor, not as the actor's death.
    """
    job.run.make_folder(folder)
    check = f"{folder}/check.json"
    shown: list[str] = []

    def news() -> str | None:
        report = None if shown else job.run.read_json(check)
        if report is None or "line" not in report:
            return None
        shown.append(report["line"])
        return shown[0]

    try:
        with progress(label, lambda: total, "contexts", lambda: job.run.count_rows(folder, "rows"), news):
            yield job.run.at(folder, "rows"), job.run.at(check)
    except Exception:
        report = job.run.read_json(check) or {}
        if "error" in report:
            raise ValueError(report["error"]) from None
        raise
