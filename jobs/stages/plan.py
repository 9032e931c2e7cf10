"""The works that plans of several jobs have: a teacher's writing and a student's training."""

from collections.abc import Iterable

from jobs.reports.plan import Work
from jobs.stages.training import student_rate_uri
from student.config import StudentConfig
from teachers.config import GenerateConfig, Writer
from teachers.generation.sampling import planned_samples, sampling
from teachers.inference.rates import read_rate, teacher_rate_uri
from teachers.inference.store import Row, samples_uri


def writing_work(
    store: str,
    name: str,
    teacher: Writer,
    contexts: Iterable[Row],
    config: GenerateConfig,
    tokens: float | None,
) -> Work:
    """Return the samples of `contexts` that the store lacks.

    `contexts` are rows of EXAMPLES and iterated more than once; `tokens` are read and written for a sample.
    """
    planned = planned_samples(contexts, teacher, config, samples_uri(store, teacher, config))
    task = sampling(config)
    return Work(
        name,
        task.name,
        task.unit,
        planned.num_rows,
        planned.num_stored,
        tokens=None if tokens is None else planned.num_rows * tokens,
        rows_per_s=read_rate(teacher_rate_uri(store, teacher, task)),
        replicas=teacher.at_most(),
    )


def training_work(store: str, student: StudentConfig, num_contexts: int, task: str) -> Work:
    """Return one training of a student on so many contexts."""
    steps = student.num_steps(num_contexts) if num_contexts else 0
    rate = read_rate(student_rate_uri(store, student))
    return Work("student", task, "steps", steps, rows_per_s=rate, replicas=student.num_workers)
