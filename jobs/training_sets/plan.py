"""The work of a comparison of training sets, counted before a training starts."""

from jobs.reports.plan import Work
from jobs.stages.documents import DOCUMENTS
from jobs.stages.training import student_rate_uri
from jobs.training_sets.stages import QUESTIONS, TrainingSetsJob, parts_of
from teachers.inference.rates import read_rate


def planned_work(job: TrainingSetsJob) -> list[Work]:
    """Return the training on each set; reads documents and questions."""
    job.do_all([DOCUMENTS, QUESTIONS])
    student = job.config.student
    rate = read_rate(student_rate_uri(job.store, student))

    work = []
    for name, training_set in job.config.sets.items():
        num_questions = sum(part.size for part in parts_of(job, training_set))
        steps = student.num_steps(num_questions)
        work.append(
            Work("student", f"trains {name}", "steps", steps, rows_per_s=rate, replicas=student.num_workers)
        )
    return work
