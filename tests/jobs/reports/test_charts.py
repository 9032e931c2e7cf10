"""The charts of a comparison."""

from dataclasses import replace
from itertools import pairwise

import pytest

from jobs.reports.charts import Line, Plane, Rows, Scale
from jobs.reports.comparison import Comparison, ResponseTimes, Teachers
from jobs.reports.comparison_charts import agreement_matrix, comparison_figures
from tests.jobs.reports.comparison_example import comparison_example


def rows_chart(comparison: Comparison, section: str, title: str) -> Rows:
    chart = comparison_figures(comparison)[section].charts[title]
    assert isinstance(chart, Rows)
    return chart


def plane(comparison: Comparison, section: str, title: str) -> Plane:
    chart = comparison_figures(comparison)[section].charts[title]
    assert isinstance(chart, Plane)
    return chart


@pytest.mark.parametrize(
    ("scale", "places", "ticks"),
    [
        (Scale(0, 4), {1: 25, 4: 100}, ["0", "0.5", "1", "1.5", "2", "2.5", "3", "3.5", "4"]),
        (Scale(-0.1, 0.1), {0: 50}, ["−0.1", "−0.05", "0", "0.05", "0.1"]),
        (Scale(1, 10000, is_log=True), {10: 25, 100: 50}, ["1", "10", "100", "1000", "10000"]),
        (Scale(20, 60, is_log=True), {20: 0}, ["20", "25", "30", "35"]),  # no two powers of ten
    ],
)
def test_values_have_places_between_the_ends_and_ticks_are_round(
    scale: Scale, places: dict[float, float], ticks: list[str]
) -> None:
    assert {value: scale.place(value) for value in places} == places
    assert [text for _, text in scale.ticks][: len(ticks)] == ticks


def test_a_scale_has_room_around_its_values_also_where_they_are_equal() -> None:
    assert Scale.over([1.0, 2.0]) == Scale(0.95, 2.05)
    for scale in (Scale.over([3.0]), Scale.over([3.0], is_log=True), Scale.over([])):
        assert scale.low < scale.high and scale.ticks


def test_the_drawn_interval_is_the_measured_one_in_its_systems_row() -> None:
    comparison = comparison_example()
    chart = rows_chart(comparison, "systems 2", "hits@1/20")
    for row, (name, [mark]) in zip(comparison.tables[1].rows, chart.rows, strict=True):
        assert (name, mark.interval) == (row.system, row.metrics["hits@1/20"])
        assert chart.scale.low < mark.interval.low and mark.interval.high < chart.scale.high


def test_two_systems_of_one_name_have_a_row_each() -> None:
    comparison = comparison_example()
    first, *others = comparison.tables
    rows = [replace(row, system="the same") for row in first.rows]
    chart = rows_chart(replace(comparison, tables=[replace(first, rows=rows), *others]), "systems 1", "mrr")
    assert [mark.interval for _, [mark] in chart.rows] == [row.metrics["mrr"] for row in first.rows]


def test_quality_against_latency_has_those_that_were_timed_and_measured() -> None:
    comparison = comparison_example()
    assert comparison.latency is not None
    times = ResponseTimes(p50_ms=5.0, p95_ms=8.0, requests=100)
    students = {"dense: + margins": times, "not measured": times}
    latency = replace(comparison.latency, students=students)
    dots = plane(replace(comparison, latency=latency), "latency", "hits@1/20").dots
    # The ensemble and all-minilm-l6-v2 were not timed.
    assert [dot.label for dot in dots] == ["dense: + margins", "smollm2-135m-instruct", "gemma-3-270m"]
    assert (dots[0].x, dots[0].x_high) == (5.0, 8.0)
    assert dots[1].interval.mean == 0.533


def test_labels_of_near_points_do_not_cover_each_other() -> None:
    chart = plane(comparison_example(), "latency", "hits@1/20")
    heights = []
    for dot, shift in zip(chart.dots, chart.label_shifts(), strict=True):
        if 5 < dot.x < 9:
            heights.append(chart.top(dot.interval.mean) + shift)
    assert len(heights) == 11
    assert min(after - before for before, after in pairwise(sorted(heights))) > 14


def test_a_learning_curve_is_the_mean_of_its_seeds() -> None:
    curves = {
        "one": {"0": [{"step": 5, "loss": 2.0}, {"step": 10, "loss": 1.0, "validation_mrr": 0.5}]},
        "two": {"0": [{"step": 5, "loss": 4.0}], "1": [{"step": 5, "loss": 2.0}, {"step": 10, "loss": 1.0}]},
    }
    chart = plane(replace(comparison_example(), learning_curves=curves), "curves", "training loss")
    means = {line.title: line for line in chart.lines if not line.is_thin}
    assert means["one"].points == [(5, 2.0), (10, 1.0)]
    assert means["two"].points == [(5, 3.0), (10, 1.0)]
    assert (means["one"].group, means["two"].group) == (0, 1)
    assert len(chart.lines) == 4  # a single seed is not drawn twice


def test_a_lines_points_are_percent_from_the_left_and_px_from_the_top() -> None:
    line = Line([(0, 0.0), (5, 1.0)], "black", "one", 0)
    assert Plane(Scale(0, 10), Scale(0, 1), lines=[line], height=200).points(line) == "0.0,200.0 50.0,0.0"


def test_agreement_is_detected_whichever_way_round_a_pair_is_written() -> None:
    measures = {"a": {"hits@1/20": 0.5}, "b": {"hits@1/20": 0.5}, "ensemble": {"hits@1/20": 0.5}}
    teachers = Teachers(measures, kendall_tau={"b × a": 0.25})
    assert agreement_matrix(teachers) == {"a": [None, 0.25], "b": [0.25, None]}
    assert agreement_matrix(Teachers(measures)) == {}


def test_shares_of_what_the_filters_did_add_up() -> None:
    filters = {"a": {"kept": 3, "empty": 1}, "b": {"kept": 1, "echoed": 1, "empty": 0}}
    chart = rows_chart(replace(comparison_example(), filters=filters), "filters", "")
    ends = {name: [(mark.start, mark.interval.mean) for mark in marks] for name, marks in chart.rows}
    # In the order kept, empty, echoed.
    assert ends == {"a": [(0, 75), (75, 100), (100, 100)], "b": [(0, 50), (50, 50), (50, 100)]}
    assert chart.rows[0][1][1].title == "empty: 1 (25.0 %)"
