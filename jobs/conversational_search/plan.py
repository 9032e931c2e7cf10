"""The work of a search's job, counted before a teacher starts."""

from collections.abc import Iterator
from typing import Any

from jobs.conversational_search.stages import QUESTIONS, SearchJob, rewriting_teachers
from jobs.reports.plan import Work
from jobs.stages.documents import DOCUMENTS
from jobs.stages.training import student_rate_uri
from teachers.dataset import Rows
from teachers.engines.token_counts import mean_tokens
from teachers.generation.rewriting import Requests, as_generation, read_prompt
from teachers.generation.sampling import planned_samples, sampling
from teachers.inference.rates import read_rate, teacher_rate_uri
from teachers.inference.store import samples_uri


def planned_work(job: SearchJob) -> list[Work]:
    """Return the teachers' rewriting and the students' trainings; reads documents and questions."""
    job.do_all([DOCUMENTS, QUESTIONS])
    return [*_rewriting(job), *_training(job)]


def _rewriting(job: SearchJob) -> Iterator[Work]:
    prompt, generation = read_prompt(job.config.rewriting), as_generation(job.config.rewriting)
    requests, task = Requests(job.run.at("questions"), prompt), sampling(generation)

    for name, teacher in rewriting_teachers(job, prompt).items():
        planned = planned_samples(requests, teacher, generation, samples_uri(job.store, teacher, generation))
        means = mean_tokens(name, teacher, requests)
        yield Work(
            name,
            task.name,
            task.unit,
            planned.num_rows,
            planned.num_stored,
            tokens=planned.num_rows * (means.prompt + generation.max_tokens) if means else None,
            rows_per_s=read_rate(teacher_rate_uri(job.store, teacher, task)),
            replicas=teacher.at_most(),
        )


def _training(job: SearchJob) -> Iterator[Work]:
    questions: list[Any] = list(Rows(job.run.at("questions"), "train"))
    for name, config in job.config.students_by_name().items():
        steps, rate = config.student.num_steps(len(questions)), student_rate_uri(job.store, config.student)
        workers = config.student.num_workers
        yield Work("student", f"trains {name}", "steps", steps, rows_per_s=read_rate(rate), replicas=workers)
