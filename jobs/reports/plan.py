"""What a job is going to do, how long it takes and what it costs: `--plan` prints it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.config import PlanConfig
from jobs.reports import columns
from jobs.reports.columns import Row, Table
from jobs.reports.terminal import print_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """Rows that a teacher's replicas, or a training's workers, are to make."""

    worker: str
    """A teacher's name, or `student`."""
    task: str
    """As in "gemma3 writes"."""
    unit: str
    rows: int
    num_stored: int | None = 0
    """Further rows, which the store has; None where that is not known yet, and all are counted."""
    tokens: float | None = None
    """Tokens that are read and written, where the tokenizer is known."""
    rows_per_s: float | None = None
    """Of one replica, or of the whole training, as it was last measured in the store."""
    replicas: int = 1
    """Replicas that work side by side, or workers of the training."""

    @property
    def name(self) -> str:
        return f"{self.worker} {self.task}"


def print_plan(work: Sequence[Work], config: PlanConfig) -> None:
    """Print the work with its hours and dollars, and below it the sums and what they leave out."""
    rows = plan_rows(work, config)
    print_table(Table("plan", columns.PLAN, rows))

    if unmeasured := [row["work"] for row in rows[:-1] if row["hours"] is None]:
        names = ", ".join(unmeasured)
        logger.info(
            "no rate is known of: %s; what teachers write and score and students train is measured by a job "
            "in the same store, the rest by `plan.rows_per_s` alone",
            names,
        )
    logger.info(
        "hours are summed as if one worked after the other, and pairs as if none were stored; not in them: "
        "engines that start, judging and timing, candidates that single systems add, and the stages of the "
        "job's own process (reading, candidates, embedding, index)"
    )


def plan_rows(work: Sequence[Work], config: PlanConfig) -> list[Row]:
    """Return a row for each work, and one of the sums; `hours` are None where no rate is known."""
    rows = [_row(one, config) for one in work]

    sums: dict[str, float | str] = {"work": "together"}
    for key in ("tokens", "hours", "dollars"):
        values = [row[key] for row in rows if row[key] is not None]
        if values:
            sums[key] = sum(values)
    return [*rows, sums]


def _row(work: Work, config: PlanConfig) -> Row:
    rows_per_s = config.rows_per_s.get(work.name, work.rows_per_s)
    hours = 0.0 if not work.rows else None if rows_per_s is None else work.rows / rows_per_s / 3600
    is_training = work.worker == "student"
    row = {
        "work": work.name,
        "unit": work.unit,
        "rows": work.rows,
        "stored": work.num_stored,
        "tokens": work.tokens,
        "rows_per_s": rows_per_s,
        "hours": hours if hours is None or is_training else hours / work.replicas,
    }
    return {**row, "dollars": _dollars(work, hours, config)}


def _dollars(work: Work, hours: float | None, config: PlanConfig) -> float | None:
    """Return the price of the work, whose `hours` are one replica's, or those of the whole training."""
    by_tokens = config.dollars_per_million_tokens.get(work.worker)
    if by_tokens is not None:
        return None if work.tokens is None else by_tokens * work.tokens / 1e6

    by_hours = config.dollars_per_hour.get(work.worker)
    if by_hours is None or hours is None:
        return None
    return by_hours * hours * (work.replicas if work.worker == "student" else 1)
