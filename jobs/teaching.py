"""Teachers at work: side by side where the cluster has room for them, else in turns."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import ray

from jobs.progress import progress
from jobs.run_directory import RunDirectory
from teachers.config import TeacherConfig
from teachers.store import Row, count_rows
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


def run_teachers(run: RunDirectory, task: Task, plans: Iterable[Plan]) -> None:
    """Returns when all that is planned is in the store.

    Raises:
        TeacherError: a teacher can't work; what the others made is kept.
    """
    for plan in plans:
        print(f"  {plan.name} {task.name}: {plan.num_rows} to do, {plan.num_stored} in the store", flush=True)
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
