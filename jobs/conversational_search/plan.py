"""The work of a search's job, counted before a teacher starts."""

from collections.abc import Iterator

from jobs.conversational_search.stages import QUESTIONS, SearchJob, rewriting_teachers
from jobs.reports.plan import Work
from jobs.stages.documents import DOCUMENTS
from jobs.stages.plan import training_work, writing_work
from teachers.dataset import Rows
from teachers.engines.token_counts import mean_tokens
from teachers.generation.rewriting import Requests, as_generation, read_prompt


def planned_work(job: SearchJob) -> list[Work]:
    """Return the teachers' rewriting and the students' trainings; reads documents and questions."""
    job.do_all([DOCUMENTS, QUESTIONS])
    return [*_rewriting(job), *_training(job)]


def _rewriting(job: SearchJob) -> Iterator[Work]:
    prompt, generation = read_prompt(job.config.rewriting), as_generation(job.config.rewriting)
    requests = Requests(job.run.at("questions"), prompt)
    for name, teacher in rewriting_teachers(job, prompt).items():
        means = mean_tokens(name, teacher, requests)
        tokens = means.prompt + generation.max_tokens if means else None
        yield writing_work(job.store, name, teacher, requests, generation, tokens)


def _training(job: SearchJob) -> Iterator[Work]:
    num_questions = sum(1 for _ in Rows(job.run.at("questions"), "train"))
    for name, config in job.config.students_by_name().items():
        yield training_work(job.store, config.student, num_questions, f"trains {name}")
