"""The learning curve over conversations with human responses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.comparison.config import LabelCurveConfig, SystemConfig
from jobs.comparison.label_curve import conclusion, label_curve
from jobs.execution.job import Job
from jobs.execution.run_directory import RunDirectory
from jobs.reports.comparison import LabelCurvePoint
from student.evaluation.statistics import Difference, Interval
from teachers.dataset import write_rows
from teachers.records import CANDIDATES


def test_each_number_has_a_system_with_teachers_and_above_zero_one_without() -> None:
    without = {"student.kl_weight": 0}
    curve = LabelCurveConfig(conversations=[0, 50, "all"], without_teachers=without)
    human_conversations = "candidates.human_conversations"
    assert curve.systems() == {
        "full-0": SystemConfig(changes={human_conversations: 0}),
        "human-50": SystemConfig(changes={human_conversations: 50, **without}),
        "full-50": SystemConfig(changes={human_conversations: 50}, against=["human-50"]),
        "human-all": SystemConfig(changes={human_conversations: None, **without}),
        "full-all": SystemConfig(changes={human_conversations: None}, against=["human-all"]),
    }


def test_the_curve_has_means_differences_and_the_number_of_human_responses(tmp_path: Path) -> None:
    rows = [_row("gold"), _row("gold"), _row("generated"), {**_row("gold"), "split": "test"}]
    write_rows(str(tmp_path / "candidates"), rows, CANDIDATES)
    job: Any = Job.__new__(Job)
    job.run = RunDirectory(str(tmp_path))

    # Twelve conversations of one context; with teachers two thirds are right, without a third of those.
    full, human = np.array([[1.0] * 8 + [0.0] * 4]), np.array([[1.0] * 4 + [0.0] * 8])
    config = LabelCurveConfig(conversations=[0, 2])
    values = {"full-0": human, "human-2": human, "full-2": full, "untrained": human}
    conversations = [f"conversation {number}" for number in range(12)]

    curve = label_curve(config, {"full-0": job, "full-2": job}, values, conversations)
    none, two = curve.points
    assert (none.conversations, none.without_teachers, none.difference) == ("0", None, None)
    assert (two.conversations, two.responses) == ("2", 2)
    assert two.without_teachers is not None and two.difference is not None
    means = two.with_teachers.mean, two.without_teachers.mean, two.difference.mean
    assert means == pytest.approx((2 / 3, 1 / 3, 1 / 3))
    # Four conversations differ, all one way: of 2 ** 4 assignments of their signs two are as far from zero.
    assert two.difference.p_value == pytest.approx(2 / 2**4)
    assert curve.conclusion == (
        "No difference is shown with 2 conversations. "
        "That is of one training each, and of one draw of the conversations."
    )


def _row(source: str) -> dict[str, Any]:
    candidate = {"text": "so it is", "source": source, "teacher": None}
    names = {"example_id": "e", "conversation_id": "c", "split": "train", "for_teachers": False}
    return {**names, "context": [{"role": "user", "content": "is it?"}], "candidates": [candidate]}


def test_the_conclusion_says_what_is_shown_and_what_is_not() -> None:
    def point(conversations: str, mean: float, p_value: float) -> LabelCurvePoint:
        difference = Difference(mean, mean - 0.01, mean + 0.01, p_value)
        return LabelCurvePoint(conversations, 10, Interval(0.1, 0.1, 0.1), Interval(0, 0, 0), difference)

    without = LabelCurvePoint("0", 0, Interval(0.1, 0.1, 0.1), None, None)
    points = [without, point("50", 0.04, 0.001), point("200", 0.02, 0.04), point("1000", 0.01, 0.3)]
    assert conclusion("mrr", [*points, point("all", -0.02, 0.01)], 3) == (
        "The teachers add to mrr: +0.040 with 50 and +0.020 with 200 conversations. "
        "They take from it: -0.020 with all conversations. "
        "No difference is shown with 1000 conversations. "
        "That is of 3 trainings each, and of one draw of the conversations."
    )
