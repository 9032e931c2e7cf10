"""Charts of a comparison of systems, one function each, for the comparison page.

Names stand above their row, so that a chart needs no margin for them: it reads alike on phone and desk.
"""

from collections.abc import Iterable, Mapping
from math import log, log10
from statistics import fmean
from string import ascii_uppercase
from typing import Any

import plotly.graph_objects as go

from jobs.reports.chart_elements import (
    MARGIN_PX,
    Interval,
    TimedPoint,
    axis,
    bars,
    dot,
    hover,
    label_px,
    label_shifts,
    layout,
    leader,
    line,
    plain,
    range_of,
    reference,
    rows_figure,
    timed_dot,
    upright_dot,
    wrapped,
)

KIND_COLOURS = {"baseline": "#6b7280", "dense": "#1d6fb8", "sparse": "#c2410c", "teacher": "#15803d"}
ENTROPY_COLOURS = {"cross_entropy": "#1d6fb8", "entropy": "#b7720b"}
ANSWERED_COLOURS = {"win_rate_human": "#1d6fb8", "win_rate_generated": "#c2410c"}
# Okabe and Ito's colours, told apart by the colour-blind too, and two greys for what comes after them.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#000000", "#999999")
_KEPT_COLOUR, _UNKNOWN_COLOUR = "#a7c4bc", "#6b7280"

_LATENCY_PX, _CURVES_PX, _TELEPHONE_PX = 440, 380, 290
_NAMED_POINTS = 3


def system_numbers(comparison: Mapping[str, Any]) -> dict[str, int]:
    """The number from 1 of each system, in the order of the tables."""
    names = dict.fromkeys(row["system"] for table in comparison["tables"] for row in table["rows"])
    return {name: number for number, name in enumerate(names, 1)}


def curve_colours(comparison: Mapping[str, Any]) -> dict[str, str]:
    """The colour of each system that has learning curves."""
    return {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(comparison["learning_curves"])}


def outcome_colours(comparison: Mapping[str, Any]) -> dict[str, str]:
    """The colour of `kept` and of each reason that dropped a sample of some teacher."""
    reasons = dict.fromkeys(
        reason
        for counts in comparison["filters"].values()
        for reason, count in counts.items()
        if count and reason != "kept"
    )
    return {"kept": _KEPT_COLOUR} | {
        reason: _COLOURS[index % len(_COLOURS)] for index, reason in enumerate(reasons)
    }


def judged_by(comparison: Mapping[str, Any], teacher: str) -> list[tuple[str, dict[str, Any]]]:
    """(system, judgement) of each system that the teacher judged."""
    return [
        (row["system"], judgement)
        for row in comparison["answers"]
        for judgement in row["judgements"]
        if judgement["teacher"] == teacher
    ]


def ladder_chart(table: Mapping[str, Any], metric: str) -> go.Figure:
    """A dot and its interval for each system of a table that has the metric."""
    rows = [row for row in table["rows"] if metric in row["metrics"]]
    figure, ys = rows_figure(
        [row["system"] for row in rows],
        [f"{row['metrics'][metric]['mean']:.3f}" for row in rows],
        range_of([row["metrics"][metric] for row in rows]),
    )
    for row, y in zip(rows, ys, strict=True):
        figure.add_trace(dot(row["system"], row["metrics"][metric], y, _colour_of_kind(row["kind"])))
    return figure


def latency_chart(comparison: Mapping[str, Any]) -> go.Figure:
    """hits@1/20 against milliseconds, of the teachers by name and of more than a few systems by number."""
    points = timed_points(comparison)
    low, high = range_of([point.interval for point in points])
    figure = go.Figure([timed_dot(point) for point in points])
    margin = MARGIN_PX | {"l": 8, "b": 46}
    figure.update_layout(layout(_LATENCY_PX), margin=margin)
    px_per_unit = (_LATENCY_PX - margin["t"] - margin["b"]) / (high - low)
    shifts_px = label_shifts(points, px_per_unit)
    figure.update_layout(annotations=[leader(*label) for label in zip(points, shifts_px, strict=True)])
    first = min(points, key=lambda point: point.p50_ms)
    fastest, slowest = log10(first.p50_ms), log10(max(point.p95_ms for point in points))
    decades_per_px = max(slowest - fastest, 1) / (_TELEPHONE_PX - label_px(first))
    figure.update_xaxes(
        axis("milliseconds"),
        type="log",
        dtick=1 if slowest - fastest > 1.5 else None,
        range=[fastest - label_px(first) * decades_per_px, slowest + 12 * decades_per_px],
    )
    figure.update_yaxes(axis(), range=[low, high], automargin=True)
    return figure


def timed_points(comparison: Mapping[str, Any]) -> list[TimedPoint]:
    """The systems and the teachers of which both the time and hits@1/20 are known."""
    students, teachers = comparison["latency"]["students"], comparison["latency"]["teachers"]
    numbers = system_numbers(comparison)
    named = len(students) <= _NAMED_POINTS
    points = [
        TimedPoint(
            name=row["system"],
            label=wrapped(row["system"], 20) if named else str(numbers[row["system"]]),
            p50_ms=students[row["system"]]["p50_ms"],
            p95_ms=students[row["system"]]["p95_ms"],
            interval=row["metrics"]["hits@1/20"],
            colour=_colour_of_kind(row["kind"]),
        )
        for row in comparison["tables"][0]["rows"]
        if row["system"] in students and "hits@1/20" in row["metrics"]
    ]
    return points + [
        TimedPoint(
            name=teacher,
            label=wrapped(teacher, 20),
            p50_ms=teachers[teacher]["p50_ms"],
            p95_ms=teachers[teacher]["p95_ms"],
            interval=_at(measures["hits@1/20"]),
            colour=KIND_COLOURS["teacher"],
        )
        for teacher, measures in comparison["teachers"]["measures"].items()
        if teacher in teachers
    ]


def sparsity_chart(comparison: Mapping[str, Any]) -> go.Figure:
    """MRR against the terms of a context, of the sparse systems by number."""
    table = comparison["tables"][0]
    numbers = system_numbers(comparison)
    rows = [row for row in table["rows"] if row["system"] in comparison["sparsity"]]
    figure = go.Figure()
    for row in rows:
        terms = comparison["sparsity"][row["system"]]["context_terms"]
        number = str(numbers[row["system"]])
        colour = _colour_of_kind(row["kind"])
        figure.add_trace(upright_dot(row["system"], terms, row["metrics"]["mrr"], colour, number))
    figure.update_layout(layout(_CURVES_PX), margin=MARGIN_PX | {"b": 46})
    figure.update_xaxes(axis("terms of a context"), type="log")
    figure.update_yaxes(axis(), range=range_of([row["metrics"]["mrr"] for row in rows]), automargin=True)
    return figure


def curves_chart(comparison: Mapping[str, Any], measure: str) -> go.Figure:
    """A line of the seeds' mean for each system, and a thin one for each of several seeds, by step.

    The lines of system 0, 1, … are in the legend group of that name.
    """
    thin, strong = [], []
    for number, (system, colour) in enumerate(curve_colours(comparison).items()):
        seeds = [
            {report["step"]: report[measure] for report in reports if measure in report}
            for reports in comparison["learning_curves"][system].values()
        ]
        steps = sorted(set().union(*seeds))
        means = [fmean(seed[step] for seed in seeds if step in seed) for step in steps]
        mean = line(steps, means, colour, width=2.2, opacity=1)
        mean.update(name=plain(system), hovertemplate=hover("step %{x}: %{y:.3f}"))
        strong.append(mean.update(legendgroup=str(number)))
        for seed in seeds if len(seeds) > 1 else []:
            of_seed = line(list(seed), list(seed.values()), colour, width=1, opacity=0.3)
            thin.append(of_seed.update(legendgroup=str(number), hoverinfo="skip"))
    figure = go.Figure(thin + strong)
    figure.update_layout(layout(_CURVES_PX), margin=MARGIN_PX | {"l": 8, "b": 46})
    figure.update_xaxes(axis("step"))
    figure.update_yaxes(axis(), automargin=True)
    return figure


def hits_chart(comparison: Mapping[str, Any]) -> go.Figure:
    """A bar of hits@1/20 for each teacher."""
    hits = {name: row["hits@1/20"] for name, row in comparison["teachers"]["measures"].items()}
    figure, ys = rows_figure(list(hits), [f"{value:.3f}" for value in hits.values()], [0, 1])
    figure.add_trace(bars(list(hits), list(hits.values()), ys, KIND_COLOURS["teacher"], "%{x:.3f}"))
    return figure


def entropies_chart(comparison: Mapping[str, Any]) -> go.Figure:
    """Bars of cross-entropy and entropy in nats for each teacher, with a line at those of twenty equals."""
    measures = comparison["teachers"]["measures"]
    known = {name: row for name, row in measures.items() if ENTROPY_COLOURS.keys() <= row.keys()}
    values = [
        _coloured((row[name], colour) for name, colour in ENTROPY_COLOURS.items()) for row in known.values()
    ]
    highest = max((row[name] for row in known.values() for name in ENTROPY_COLOURS), default=0)
    figure, ys = rows_figure(list(known), values, [0, 1.04 * max(highest, log(20))])
    for (name, colour), shift_px in zip(ENTROPY_COLOURS.items(), (-5, 5), strict=True):
        lengths = [row[name] for row in known.values()]
        said = f"{name.replace('_', '-')} %{{x:.3f}} nats"
        drawn = bars(list(known), lengths, [y + shift_px for y in ys], colour, said)
        figure.add_trace(drawn.update(width=8))
    figure.add_shape(reference(log(20)))
    return figure


def agreement_chart(comparison: Mapping[str, Any]) -> go.Figure:
    """A heat map of Kendall's tau between teachers, whose letters stand for them above the columns."""
    taus: Mapping[str, float] = comparison["teachers"]["kendall_tau"]

    def of_pair(a: str, b: str) -> float | None:
        return taus.get(f"{a} × {b}", taus.get(f"{b} × {a}"))

    names = list(comparison["teachers"]["measures"])
    compared = [a for a in names if any(of_pair(a, b) is not None for b in names)]
    cells = [[of_pair(a, b) for b in compared] for a in compared]
    figure = go.Figure(
        go.Heatmap(
            z=cells,
            zmin=min(0, *taus.values()),
            zmax=1,
            colorscale=[[0, "#f3f7fb"], [1, "#0b4f8a"]],
            texttemplate="%{z:.2f}",
            hoverinfo="skip",
            showscale=False,
            xgap=3,
            ygap=3,
        )
    )
    height = 30 + 56 * len(compared)
    figure.update_layout(layout(height), margin={"l": 4, "r": 4, "t": 4, "b": 4})
    ticks = {"tickvals": list(range(len(compared))), "automargin": True, "showgrid": False}
    letters = ascii_uppercase[: len(compared)]
    rows = [f"{wrapped(name, 18)}  <b>{letter}</b>" for name, letter in zip(compared, letters, strict=True)]
    columns = [f"<b>{letter}</b>" for letter in letters]
    figure.update_xaxes(axis(), **ticks, ticktext=columns, side="top")
    figure.update_yaxes(axis(), **ticks, ticktext=rows, autorange="reversed", ticklabelstandoff=4)
    return figure


def ratings_chart(comparison: Mapping[str, Any], coefficient: str) -> go.Figure:
    """A dot and its interval for each scorer that has this correlation with people's ratings."""
    ratings = [rating for rating in comparison["teachers"]["ratings"] if coefficient in rating]
    intervals = [rating[coefficient] for rating in ratings]
    scorers, values = [rating["scorer"] for rating in ratings], [f"{row['mean']:.3f}" for row in intervals]
    figure, ys = rows_figure(scorers, values, range_of([*intervals, _at(0)]))
    figure.add_shape(reference(0))
    for scorer, interval, y in zip(scorers, intervals, ys, strict=True):
        figure.add_trace(dot(scorer, interval, y, KIND_COLOURS["teacher"]))
    return figure


def filters_chart(comparison: Mapping[str, Any]) -> go.Figure:
    """A bar of what was kept and dropped of each teacher's samples, in percent."""
    filters = comparison["filters"]
    totals = [max(sum(counts.values()), 1) for counts in filters.values()]
    shares = {
        outcome: [
            100 * counts.get(outcome, 0) / total
            for counts, total in zip(filters.values(), totals, strict=True)
        ]
        for outcome in outcome_colours(comparison)
    }
    figure, ys = rows_figure(list(filters), [f"kept {share:.0f} %" for share in shares["kept"]], [0, 100])
    for outcome, colour in outcome_colours(comparison).items():
        said = f"{plain(outcome)}: %{{customdata:,}} (%{{x:.1f}} %)"
        drawn = bars(list(filters), shares[outcome], ys, colour, said)
        figure.add_trace(drawn.update(customdata=[counts.get(outcome, 0) for counts in filters.values()]))
    figure.update_layout(barmode="stack")
    figure.update_xaxes(ticksuffix=" %")
    return figure


def judgement_chart(comparison: Mapping[str, Any], teacher: str) -> go.Figure:
    """Two dots for each system: how often the teacher prefers it to people and to generated replies."""
    judged = judged_by(comparison, teacher)
    names = [f"{system}\N{NO-BREAK SPACE}*" if row["trained_on"] else system for system, row in judged]
    intervals = [row[measure] for _, row in judged for measure in ANSWERED_COLOURS]
    values = [
        _coloured((row[measure]["mean"], colour) for measure, colour in ANSWERED_COLOURS.items())
        for _, row in judged
    ]
    figure, ys = rows_figure(names, values, range_of([*intervals, _at(0.5)]))
    figure.add_shape(reference(0.5))
    for name, (_, row), y in zip(names, judged, ys, strict=True):
        for (measure, colour), shift_px in zip(ANSWERED_COLOURS.items(), (-5, 4), strict=True):
            figure.add_trace(dot(name, row[measure], y + shift_px, colour, size=8))
    return figure


def _coloured(values: Iterable[tuple[float, str]]) -> str:
    """Values as plotly shows them in their colours."""
    return " · ".join(f'<span style="color: {colour}">{value:.2f}</span>' for value, colour in values)


def _colour_of_kind(kind: str) -> str:
    return KIND_COLOURS.get(kind, _UNKNOWN_COLOUR)


def _at(value: float) -> Interval:
    """What is known without an interval."""
    return {"mean": value, "low": value, "high": value}
