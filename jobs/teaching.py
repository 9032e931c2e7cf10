"""Teachers at work: side by side where the cluster has room for them, else in turns."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import ray

from jobs.metrics import count_store_hits
from jobs.progress import progress
from jobs.run_directory import RunDirectory
from teachers.config import GenerateConfig, ScoreConfig, TeacherConfig, VllmTeacher, Writer
from teachers.generation import sampling, wanted_samples
from teachers.latency import timing, timing_work
from teachers.scoring import scoring, wanted_pairs
from teachers.store import Row, count_rows, pairs_uri, samples_uri, stored_keys
from teachers.worker import Task, run_teacher, sanity_line


@dataclass(frozen=True)
class Plan:
    """What one teacher is to add to the store."""

    name: str
    teacher: TeacherConfig
    work: list[Row]
    num_rows: int
    """Rows that the work makes."""
    num_stored: int
    """Rows that were wanted and are there."""
    store_uri: str
    batch_size: int


def generate_samples(
    run: RunDirectory, store: str, teachers: dict[str, Writer], contexts: list[Row], config: GenerateConfig
) -> None:
    """Afterwards the store has every sample that `config` wants for the `contexts`, rows of EXAMPLES.

    Raises:
        TeacherError: see `_run_teachers`.
    """
    plans = []
    for name, teacher in teachers.items():
        uri = samples_uri(store, teacher, config)
        wanted = wanted_samples(contexts, teacher, config)
        stored = stored_keys(uri)
        missing = [row for row in wanted if row["key"] not in stored]
        num_stored = len(wanted) - len(missing)
        plans.append(
            Plan(name, teacher, missing, len(missing), num_stored, uri, config.batch_size * config.samples)
        )
    _run_teachers(run, sampling(config), plans)


def score_pairs(
    run: RunDirectory,
    store: str,
    teachers: dict[str, TeacherConfig],
    candidates_uri: str,
    config: ScoreConfig,
) -> None:
    """Afterwards the store has the score of every pair that the teachers see in CANDIDATES.

    Raises:
        TeacherError: see `_run_teachers`.
    """
    plans = []
    for name, teacher in teachers.items():
        uri = pairs_uri(store, teacher)
        missing = wanted_pairs(candidates_uri, teacher, stored_keys(uri))
        num_missing = sum(len(row["keys"]) for row in missing)
        num_wanted = sum(len(row["keys"]) for row in wanted_pairs(candidates_uri, teacher, set()))
        plans.append(
            Plan(name, teacher, missing, num_missing, num_wanted - num_missing, uri, config.batch_size)
        )
    _run_teachers(run, scoring(config), plans)


def time_answers(
    run: RunDirectory, teachers: dict[str, VllmTeacher], contexts: list[Row], config: GenerateConfig
) -> dict[str, str]:
    """Teacher -> where its timed answers to `contexts` lie; each teacher is alone while it answers.

    Raises:
        TeacherError: see `_run_teachers`.
    """
    uris = {}
    for name, teacher in teachers.items():
        run.delete("latency", name)  # another hour's measurements are not this one's
        uris[name] = run.at("latency", name)
        work = timing_work(contexts, teacher, config)
        _run_teachers(run, timing(config), [Plan(name, teacher, work, len(work), 0, uris[name], len(work))])
    return uris


def _run_teachers(run: RunDirectory, task: Task, plans: Iterable[Plan]) -> None:
    """Returns when all that is planned is in the store.

    Raises:
        TeacherError: a teacher can't work; what the others made is kept.
    """
    for plan in plans:
        print(f"  {plan.name} {task.name}: {plan.num_rows} to do, {plan.num_stored} in the store", flush=True)
        count_store_hits(plan.name, task.name, plan.num_stored)
    waiting = [plan for plan in plans if plan.work]
    for wave in waves({plan.name: plan.teacher for plan in waiting}, ray.cluster_resources()):
        together = [plan for plan in waiting if plan.name in wave]
        with ThreadPoolExecutor(len(together)) as threads:
            for done in [threads.submit(_run, run, task, plan) for plan in together]:
                done.result()


def waves(teachers: dict[str, TeacherConfig], resources: dict[str, float]) -> list[list[str]]:
    """Names of the teachers that run at the same time, in order; one that never fits runs alone."""
    found: list[list[str]] = []
    free: dict[str, float] = {}
    for name, teacher in teachers.items():
        wanted = {"CPU": teacher.at_least() * teacher.num_cpus, "GPU": teacher.at_least() * teacher.num_gpus}
        if not found or any(amount > free[resource] for resource, amount in wanted.items()):
            found.append([])
            # One CPU reads and writes.
            free = {"CPU": resources.get("CPU", 0) - 1, "GPU": resources.get("GPU", 0)}
        found[-1].append(name)
        free = {resource: free[resource] - amount for resource, amount in wanted.items()}
    return found


def _run(run: RunDirectory, task: Task, plan: Plan) -> None:
    notes_uri = run.make_folder("notes", f"{plan.name}-{task.name}")
    before = count_rows(plan.store_uri)
    shown: list[str] = []

    def news() -> str | None:
        line = None if shown else sanity_line(notes_uri)
        if line is not None:
            shown.append(line)
        return line

    with progress(
        f"{plan.name} {task.name}",
        lambda: plan.num_rows,
        task.unit,
        lambda: count_rows(plan.store_uri) - before,
        news,
    ):
        run_teacher(plan.name, plan.teacher, task, plan.work, plan.batch_size, plan.store_uri, notes_uri)
