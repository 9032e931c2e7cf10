"""What a job is going to do, in rows, hours and dollars."""

from typing import Any

import pytest

from jobs.config import PlanConfig
from jobs.reports.plan import Work, plan_rows


def _figures(row: Any) -> list[Any]:
    return [row[key] for key in ("rows_per_s", "hours", "dollars")]


def test_hours_are_of_all_replicas_and_dollars_of_each() -> None:
    # 14,400 rows at 2 a second are 2 hours of one replica: of four half an hour each, and 2 h x $3.
    writing = Work("gemma3", "writes", "samples", 14_400, tokens=1e6, rows_per_s=2, replicas=4)
    # A training's rate is that of all its workers: an hour, paid twice.
    training = Work("student", "trains", "steps", 3600, rows_per_s=1, replicas=2)
    rows = plan_rows([writing, training], PlanConfig(dollars_per_hour={"gemma3": 3, "student": 5}))
    assert [_figures(row) for row in rows[:2]] == [[2, 0.5, 6], [1, 1, 10]]
    assert (rows[2]["hours"], rows[2]["dollars"], rows[2]["tokens"]) == (1.5, 16, 1e6)


def test_a_rate_of_the_config_comes_before_the_measured_one_and_none_leaves_hours_open() -> None:
    work = Work("gemma3", "scores", "pairs", 7200, rows_per_s=1)
    config = PlanConfig(rows_per_s={"gemma3 scores": 4}, dollars_per_hour={"gemma3": 2})
    assert _figures(plan_rows([work], config)[0]) == [4, 0.5, 1]

    unmeasured = Work("smollm2", "scores", "pairs", 7200)
    assert _figures(plan_rows([unmeasured], config)[0]) == [None, None, None]
    all_stored = Work("smollm2", "scores", "pairs", 0, num_stored=7200)
    assert plan_rows([all_stored], config)[0]["hours"] == 0


def test_an_endpoint_is_paid_by_tokens() -> None:
    config = PlanConfig(dollars_per_million_tokens={"served": 0.5})
    work = Work("served", "writes", "samples", 10_000, tokens=3_000_000)
    assert plan_rows([work], config)[0]["dollars"] == pytest.approx(1.5)
    unknown = Work("served", "writes", "samples", 10_000)
    assert plan_rows([unknown], config)[0]["dollars"] is None
