"""Teachers at work: side by side where the cluster has room for them, else in turns."""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import ray

from jobs.execution.progress import progress
from jobs.execution.run_directory import RunDirectory
from jobs.execution.telemetry import count_store_hits
from teachers.config import TeacherConfig, VllmTeacher, Writer
from teachers.generation.config import GenerateConfig
from teachers.generation.latency import timing, timing_work
from teachers.generation.sampling import plan_samples, samples_in_a_batch, sampling
from teachers.inference.missing_rows import Planned
from teachers.inference.store import Row, pairs_uri, samples_uri
from teachers.inference.work_files import write_work
from teachers.inference.worker import Task, run_teacher, sanity_line
from teachers.scoring.config import ScoreConfig
from teachers.scoring.pair_scores import plan_scores, scoring


@dataclass(frozen=True)
class Plan:
    """What one teacher is to add to the store."""

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
    """Afterwards the store has every sample that `config` wants for the `contexts`, rows of EXAMPLES, which
    are iterated more than once.

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
    """Afterwards the store has the score of every pair that the teachers see in CANDIDATES.

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
    """Teacher -> where its timed answers to `contexts` lie; each teacher is alone while it answers.

    Raises:
        TeacherError: see `_run_teachers`.
    """
    task, uris = timing(config), {}
    for name, teacher in teachers.items():
        run.delete("latency", name)  # another hour's measurements are not this one's
        uris[name], work = run.at("latency", name), _work_uri(run, name, task)
        write_work(work, timing_work(contexts, teacher, config), task.wanted, len(contexts))
        planned = Planned(len(contexts), 0)
        _run_teachers(run, task, [Plan(name, teacher, work, planned, uris[name], len(contexts))])
    return uris


def _work_uri(run: RunDirectory, name: str, task: Task) -> str:
    return run.at("work", f"{name}-{task.name}")


def _run_teachers(run: RunDirectory, task: Task, plans: Iterable[Plan]) -> None:
    """Returns when all that is planned is in the store.

    Raises:
        TeacherError: a teacher can't work; what the others made is kept.
    """
    for plan in plans:
        to_do, stored = plan.planned
        print(f"  {plan.name} {task.name}: {to_do} to do, {stored} in the store", flush=True)
        count_store_hits(plan.name, task.name, stored)
    waiting = [plan for plan in plans if plan.planned.num_rows]
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
    done: Counter[str] = Counter()
    shown: list[str] = []

    def news() -> str | None:
        line = None if shown else sanity_line(notes_uri)
        if line is not None:
            shown.append(line)
        return line

    with progress(
        f"{plan.name} {task.name}",
        lambda: plan.planned.num_rows,
        task.unit,
        done.total,
        news,
    ):
        for made in run_teacher(
            plan.name, plan.teacher, task, plan.work_uri, plan.batch_size, plan.store_uri, notes_uri
        ):
            done["made"] += made
    run.delete("work", f"{plan.name}-{task.name}")
