"""The work of a synthesis, counted before a teacher starts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from jobs.execution.job import Stage
from jobs.reports.plan import Work
from jobs.synthesis.stages import SynthesisJob
from teachers.dataset import Rows


def planned_work(job: SynthesisJob, stages: Sequence[Stage[Any]]) -> list[Work]:
    """Return the turns that each teacher is to write, if none fails its checks; reads the documents."""
    job.do_all(stages, until="plans")

    turns: Counter[str] = Counter()
    for plan in Rows(job.run.at("plans")):
        turns.update(turn["teacher"] for turn in plan["turns"])
    return [
        Work(name, "writes", "turns", turns[name], replicas=teacher.at_most())
        for name, teacher in job.teachers.items()
    ]
