"""The charts of a comparison."""

from dataclasses import replace
from itertools import pairwise

import pytest

from jobs.reports.charts import agreement_chart, curves_chart, filters_chart, latency_chart, systems_chart
from jobs.reports.comparison import HeldOutTable, ResponseTimes, Teachers
from tests.jobs.reports.comparison_example import comparison_example


def _with_name(table: HeldOutTable, place: int, name: str) -> HeldOutTable:
    rows = list(table.rows)
    rows[place] = replace(rows[place], system=name)
    return replace(table, rows=rows)


def test_plotly_takes_no_name_for_a_tag() -> None:
    table = _with_name(comparison_example().tables[0], 0, "<b>&amp;")
    figure = systems_chart(table, "mrr")
    assert figure.data[0].name == "&lt;b&gt;&amp;amp;"
    assert figure.layout.annotations[0].text == "&lt;b&gt;&amp;amp;"


def test_the_drawn_interval_is_the_measured_one() -> None:
    table = comparison_example().tables[1]
    figure = systems_chart(table, "hits@1/20")
    for row, trace in zip(table.rows, figure.data, strict=True):
        interval = row.metrics["hits@1/20"]
        [mean], [above], [below] = trace.x, trace.error_x.array, trace.error_x.arrayminus
        assert mean == interval.mean
        assert mean + above == pytest.approx(interval.high)
        assert mean - below == pytest.approx(interval.low)
        assert figure.layout.xaxis.range[0] < interval.low
        assert figure.layout.xaxis.range[1] > interval.high


def test_each_name_stands_in_the_row_of_its_dot() -> None:
    name = "a system whose name needs " + "a few more words than fit on a line " * 3
    table = _with_name(comparison_example().tables[0], 2, name)
    figure = systems_chart(table, "mrr")
    boundaries = [0, *figure.layout.yaxis.tickvals, figure.layout.yaxis.range[0]]
    names = figure.layout.annotations[::2]
    for row, (name, trace) in enumerate(zip(names, figure.data, strict=True)):
        assert boundaries[row] < name.y < trace.y[0] < boundaries[row + 1]


def test_quality_against_latency_has_those_that_were_timed_and_measured() -> None:
    comparison = comparison_example()
    assert comparison.latency is not None
    times = ResponseTimes(p50_ms=5.0, p95_ms=8.0, requests=100)
    students = {"dense: + margins": times, "not measured": times}
    figure = latency_chart(replace(comparison, latency=replace(comparison.latency, students=students)))
    # The ensemble and all-minilm-l6-v2 were not timed.
    assert [trace.name for trace in figure.data] == [
        "dense: + margins",
        "smollm2-135m-instruct",
        "gemma-3-270m",
    ]
    assert figure.data[0].x == (5.0,)
    assert figure.data[0].error_x.array == (3.0,)
    assert figure.data[1].y == (0.533,)
    assert figure.layout.annotations[0].text == "dense: + margins"


def test_labels_of_near_points_do_not_cover_each_other() -> None:
    figure = latency_chart(comparison_example())
    low, high = figure.layout.yaxis.range
    margin = figure.layout.margin
    px_per_unit = (figure.layout.height - margin.t - margin.b) / (high - low)
    near = [label for label in figure.layout.annotations if 0.7 < label.x < 0.95]
    heights = sorted(label.ay - label.y * px_per_unit for label in near)
    assert len(near) == 11
    assert min(after - before for before, after in pairwise(heights)) > 14


def test_a_learning_curve_is_the_mean_of_its_seeds() -> None:
    curves = {
        "one": {"0": [{"step": 5, "loss": 2.0}, {"step": 10, "loss": 1.0, "validation_mrr": 0.5}]},
        "two": {"0": [{"step": 5, "loss": 4.0}], "1": [{"step": 5, "loss": 2.0}, {"step": 10, "loss": 1.0}]},
    }
    lines = {trace.name: trace for trace in curves_chart(curves, "loss").data if trace.name}
    assert (lines["one"].x, lines["one"].y) == ((5, 10), (2.0, 1.0))
    assert (lines["two"].x, lines["two"].y) == ((5, 10), (3.0, 1.0))
    assert (lines["one"].legendgroup, lines["two"].legendgroup) == ("0", "1")
    assert len(curves_chart(curves, "loss").data) == 4  # a single seed is not drawn twice


def test_agreement_is_found_whichever_way_round_a_pair_is_written() -> None:
    measures = {"a": {"hits@1/20": 0.5}, "b": {"hits@1/20": 0.5}, "ensemble": {"hits@1/20": 0.5}}
    teachers = Teachers(measures, kendall_tau={"b × a": 0.25})
    [cells] = [trace.z for trace in agreement_chart(teachers).data]
    assert [list(row) for row in cells] == [[None, 0.25], [0.25, None]]


def test_shares_of_what_the_filters_did_add_up() -> None:
    filters = {"a": {"kept": 3, "empty": 1}, "b": {"kept": 1, "echoed": 1, "empty": 0}}
    figure = filters_chart(replace(comparison_example(), filters=filters))
    assert [(list(trace.x), list(trace.customdata)) for trace in figure.data] == [
        ([75, 50], [3, 1]),
        ([25, 0], [1, 0]),
        ([0, 50], [0, 1]),
    ]
