"""Teachers at work: side by side where the cluster has room for them, else in turns."""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import ray

from jobs.execution.progress import progress
from jobs.execution.run_directory import RunDirectory
from jobs.execution.telemetry import count_store_hits
from teachers.config import GenerateConfig, TeacherConfig, VllmTeacher, Writer
from teachers.generation.latency import timing, timing_work
from teachers.generation.sampling import plan_samples, samples_in_a_batch, sampling
from teachers.inference.missing_rows import Planned
from teachers.inference.store import Row, pairs_uri, samples_uri
from teachers.inference.waves import plan_waves
from teachers.inference.work_files import write_work
from teachers.inference.worker import Task, TeacherWork, run_teacher, sanity_line
from teachers.scoring.config import ScoreConfig
from teachers.scoring.pair_scores import plan_scores, scoring

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Rows that one teacher is to add to the store."""

    name: str
    teacher: TeacherConfig
    work_uri: str
    planned: Planned
    store_uri: str
    batch_size: int


def generate_samples(
    run: RunDirectory,
    store: str,
    teachers: dict[str, Writer],
    contexts: Iterable[Row],
    config: GenerateConfig,
) -> None:
    """Have the teachers write every sample of `contexts` that the store lacks.

    `contexts` are rows of EXAMPLES and iterated more than once.

    Raises:
        TeacherError: see `_run_teachers`.
    """
    task, plans = sampling(config), []
    for name, teacher in teachers.items():
        uri, work = samples_uri(store, teacher, config), _work_uri(run, name, task)
        planned = plan_samples(contexts, teacher, config, uri, work)
        plans.append(Plan(name, teacher, work, planned, uri, samples_in_a_batch(config)))
    _run_teachers(run, task, plans)


def score_pairs(
    run: RunDirectory,
    store: str,
    teachers: dict[str, TeacherConfig],
    candidates_uri: str,
    config: ScoreConfig,
) -> None:
    """Have the teachers score every pair of CANDIDATES, of rows for teachers, that the store lacks.

    Raises:
        TeacherError: see `_run_teachers`.
    """
    task, plans = scoring(config), []
    for name, teacher in teachers.items():
        uri, work = pairs_uri(store, teacher), _work_uri(run, name, task)
        planned = plan_scores(candidates_uri, teacher, uri, work, config.batch_size)
        plans.append(Plan(name, teacher, work, planned, uri, config.batch_size))
    _run_teachers(run, task, plans)


def time_answers(
    run: RunDirectory, teachers: dict[str, VllmTeacher], contexts: list[Row], config: GenerateConfig
) -> dict[str, str]:
    """Return where each teacher's timed answers to `contexts` lie; it is alone while it answers.

    Raises:
        TeacherError: see `_run_teachers`.
    """
    task, uris = timing(config), {}
    for name, teacher in teachers.items():
        run.delete("latency", name)  # another hour's measurements are not this one's
        uris[name], work = run.at("latency", name), _work_uri(run, name, task)
        write_work(work, timing_work(contexts, teacher, config), task.request_schema, len(contexts))
        planned = Planned(len(contexts), 0)
        _run_teachers(run, task, [Plan(name, teacher, work, planned, uris[name], len(contexts))])
    return uris


def _work_uri(run: RunDirectory, name: str, task: Task) -> str:
    return run.at("work", f"{name}-{task.name}")


def _run_teachers(run: RunDirectory, task: Task, plans: Iterable[Plan]) -> None:
    """Work until all planned rows are in the store.

    Raises:
        TeacherError: a teacher can't work; the rows of the others are kept.
    """
    for plan in plans:
        to_do, stored = plan.planned
        logger.info("  %s %s: %d to do, %d in the store", plan.name, task.name, to_do, stored)
        count_store_hits(plan.name, task.name, stored)
    waiting = [plan for plan in plans if plan.planned.num_rows]
    for wave in plan_waves({plan.name: plan.teacher for plan in waiting}, ray.cluster_resources()):
        together = [plan for plan in waiting if plan.name in wave]
        with ThreadPoolExecutor(len(together)) as threads:
            for done in [threads.submit(_run, run, task, plan) for plan in together]:
                done.result()


def _run(run: RunDirectory, task: Task, plan: Plan) -> None:
    notes_uri = run.make_folder("notes", f"{plan.name}-{task.name}")
    work = TeacherWork(plan.name, plan.teacher, task, plan.batch_size, plan.store_uri, notes_uri)
    num_made, is_checked = 0, False

    def first_check() -> str | None:
        nonlocal is_checked
        line = None if is_checked else sanity_line(notes_uri)
        is_checked = is_checked or line is not None
        return line

    with progress(
        f"{plan.name} {task.name}",
        lambda: plan.planned.num_rows,
        task.unit,
        lambda: num_made,
        first_check,
    ):
        for made in run_teacher(work, plan.work_uri):
            num_made += made
    run.delete("work", f"{plan.name}-{task.name}")
