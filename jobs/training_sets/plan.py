"""The work of a comparison of training sets, counted before a training starts."""

from jobs.reports.plan import Work
from jobs.stages.documents import DOCUMENTS
from jobs.stages.plan import training_work
from jobs.training_sets.stages import QUESTIONS, TrainingSetsJob, parts_of


def planned_work(job: TrainingSetsJob) -> list[Work]:
    """Return the training on each set; reads documents and questions."""
    job.do_all([DOCUMENTS, QUESTIONS])

    work = []
    for name, training_set in job.config.sets.items():
        num_questions = sum(part.size for part in parts_of(job, training_set))
        work.append(training_work(job.store, job.config.student, num_questions, f"trains {name}"))
    return work
