"""Teachers at work: side by side where the cluster has room for them, else in turns."""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import ray

from jobs.execution.progress import Progress, count_store_hits
from jobs.execution.run_directory import RunDirectory
from teachers.config import GenerateConfig, TeacherConfig, VllmTeacher, Writer
from teachers.generation.latency import timing, timing_work
from teachers.generation.sampling import plan_samples, samples_in_a_batch, sampling
from teachers.inference.missing_rows import Planned
from teachers.inference.notes import sanity_line
from teachers.inference.pipeline import run_teacher
from teachers.inference.rates import teacher_rate_uri, write_rate
from teachers.inference.store import Row, pairs_uri, samples_uri
from teachers.inference.tasks import Made, Task, TeacherWork
from teachers.inference.waves import plan_waves
from teachers.inference.work_files import write_work
from teachers.scoring.config import ScoreConfig
from teachers.scoring.pair_scores import plan_scores, scoring

logger = logging.getLogger(__name__)

Plan = tuple[TeacherWork, Planned]
"""Rows that one teacher is to add to the store, and how many."""


def generate_samples(
    run: RunDirectory,
    store: str,
    teachers: dict[str, Writer],
    contexts: Iterable[Row],
    config: GenerateConfig,
) -> None:
    """Have the teachers write every sample of `contexts` that the store lacks.

    `contexts` are rows of EXAMPLES and iterated more than once. For errors see `_run_teachers`.
    """
    task, plans = sampling(config), []
    for name, teacher in teachers.items():
        uri = samples_uri(store, teacher, config)
        work = _work(run, name, teacher, task, samples_in_a_batch(config), uri)
        plans.append((work, plan_samples(contexts, teacher, config, uri, _files_uri(run, work))))

    for name, made in _run_teachers(run, plans).items():
        write_rate(teacher_rate_uri(store, teachers[name], task), made)


def score_pairs(
    run: RunDirectory,
    store: str,
    teachers: dict[str, TeacherConfig],
    candidates_uri: str,
    config: ScoreConfig,
) -> None:
    """Have the teachers score every pair of CANDIDATES, of rows for teachers, that the store lacks.

    For errors see `_run_teachers`.
    """
    task, plans = scoring(config), []
    for name, teacher in teachers.items():
        uri = pairs_uri(store, teacher)
        work = _work(run, name, teacher, task, config.batch_size, uri)
        files = _files_uri(run, work)
        plans.append((work, plan_scores(candidates_uri, teacher, uri, files, config.batch_size)))

    for name, made in _run_teachers(run, plans).items():
        write_rate(teacher_rate_uri(store, teachers[name], task), made)


def time_answers(
    run: RunDirectory, teachers: dict[str, VllmTeacher], contexts: list[Row], config: GenerateConfig
) -> dict[str, str]:
    """Return where each teacher's timed answers to `contexts` lie; it is alone while it answers.

    For errors see `_run_teachers`.
    """
    task, uris = timing(config), {}
    for name, teacher in teachers.items():
        run.delete("latency", name)  # another hour's measurements are not this one's
        uris[name] = run.at("latency", name)
        work = _work(run, name, teacher, task, len(contexts), uris[name])
        requests = timing_work(contexts, teacher, config)
        write_work(_files_uri(run, work), requests, task.request_schema, len(contexts))
        _run_teachers(run, [(work, Planned(len(contexts), 0))])
    return uris


def _work(
    run: RunDirectory, name: str, teacher: TeacherConfig, task: Task, batch_size: int, store_uri: str
) -> TeacherWork:
    notes_uri = run.at("notes", f"{name}-{task.name}")
    return TeacherWork(name, teacher, task, batch_size, store_uri, notes_uri)


def _files_uri(run: RunDirectory, work: TeacherWork) -> str:
    return run.at("work", f"{work.name}-{work.task.name}")


def _run_teachers(run: RunDirectory, plans: Iterable[Plan]) -> dict[str, Made]:
    """Work until all planned rows are in the store; return what each teacher that had any has made.

    Raises:
        TeacherError: a teacher can't work; the rows of the others are kept.
    """
    waiting = {}
    for work, planned in plans:
        logger.info("  %s %s: %d to do, %d in the store", work.name, work.task.name, *planned)
        count_store_hits(work.name, work.task.name, planned[1])
        if planned.num_rows:
            waiting[work.name] = (work, planned)

    teachers = {name: work.config for name, (work, _) in waiting.items()}
    made: dict[str, Made] = {}
    for wave in plan_waves(teachers, ray.cluster_resources()):
        with ThreadPoolExecutor(len(wave)) as threads:
            runs = {name: threads.submit(_run, run, *waiting[name]) for name in wave}
            try:
                made |= {name: done.result() for name, done in runs.items()}
            except KeyboardInterrupt:
                _end_threads()
                raise
    return made


def _end_threads() -> None:
    """Leave the cluster: nothing else ends threads that wait for Ray Data, whose error is then expected."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.shutdown()


def _run(run: RunDirectory, work: TeacherWork, planned: Planned) -> Made:
    label, notes_uri = f"{work.name} {work.task.name}", work.notes_uri
    run.make_folder("notes", f"{work.name}-{work.task.name}")
    num_made, seconds, is_checked = 0, 0.0, False

    def first_check() -> str | None:
        nonlocal is_checked
        line = None if is_checked else sanity_line(notes_uri)
        is_checked = is_checked or line is not None
        return line

    with Progress(label, lambda: planned.num_rows, work.task.unit, lambda: num_made, first_check):
        for made in run_teacher(work, _files_uri(run, work)):
            num_made += made.num_rows
            seconds += made.seconds
    run.delete("work", f"{work.name}-{work.task.name}")
    return Made(num_made, seconds)
