"""The work of a comparison, counted before a teacher starts."""

from dataclasses import replace

from jobs.comparison.systems import ComparisonJob
from jobs.distillation.plan import COUNTING, student_work, teachers_work
from jobs.reports.plan import Work


def planned_work(base: ComparisonJob) -> list[Work]:
    """Return the teachers' work, which all systems share, and the trainings of each system.

    What a system's own candidates cost beside those of the others is not in it.
    """
    base.do_all(COUNTING)
    config = base.config

    work = list(teachers_work(base))
    for name in config.compare.systems:
        if config.trained_as(name) == name:
            one = student_work(base, config.system(name, config.compare.seeds[0]), f"trains {name}")
            work.append(replace(one, rows=one.rows * len(config.compare.seeds)))
    return work
