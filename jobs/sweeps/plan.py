"""The work of a sweep, counted before a teacher starts."""

from dataclasses import replace

from jobs.distillation.plan import COUNTING, student_work, teachers_work
from jobs.distillation.stages import DistillationJob
from jobs.reports.plan import Work
from jobs.sweeps.config import SweepConfig


def planned_work(base: DistillationJob, sweep: SweepConfig) -> list[Work]:
    """Return the teachers' work, which all trials share, and the trials as if each trained to its end."""
    base.do_all(COUNTING)
    trial = student_work(base, base.config, f"trains {sweep.num_trials} trials")
    return [*teachers_work(base), replace(trial, rows=trial.rows * sweep.num_trials)]
