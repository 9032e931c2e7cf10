"""Charts of a comparison of systems, one function each, for the comparison page.

Names stand above their row, so that a chart needs no margin for them: it reads alike on phone and desk.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import log, log10
from statistics import fmean
from string import ascii_uppercase

import plotly.graph_objects as go

from jobs.reports.chart_elements import (
    MARGIN_PX,
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
from jobs.reports.columns import CROSS_ENTROPY, ENTROPY, WINS_OVER_GENERATED, WINS_OVER_HUMAN, Row
from jobs.reports.comparison import Comparison, HeldOutTable, RatingCorrelations, Teachers
from jobs.reports.tables import outcome_names
from student.evaluation.statistics import Interval

KIND_COLOURS = {"baseline": "#6b7280", "dense": "#1d6fb8", "sparse": "#c2410c", "teacher": "#15803d"}
ENTROPY_COLOURS = {CROSS_ENTROPY: "#1d6fb8", ENTROPY: "#b7720b"}
WIN_RATE_COLOURS = {WINS_OVER_HUMAN: "#1d6fb8", WINS_OVER_GENERATED: "#c2410c"}
# Okabe and Ito's colours, told apart by the colour-blind too, and two greys for what comes after them.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#000000", "#999999")
_KEPT_COLOUR, _OTHER_COLOUR = "#a7c4bc", "#6b7280"

_LATENCY_PX, _CURVES_PX, _PHONE_PX = 440, 380, 290
_MAX_NAMED_POINTS = 3

Reports = Sequence[Mapping[str, float]]
"""A training's reports, each with its `step`."""


def system_numbers(comparison: Comparison) -> dict[str, int]:
    """The number from 1 of each system, in the order of the tables."""
    names: dict[str, None] = {}
    for table in comparison.tables:
        names |= dict.fromkeys(row.system for row in table.rows)
    return {name: number for number, name in enumerate(names, 1)}


def curve_colours(comparison: Comparison) -> dict[str, str]:
    """The colour of each system that has learning curves."""
    return _coloured(comparison.learning_curves)


def outcome_colours(comparison: Comparison) -> dict[str, str]:
    """The colour of `kept` and of each reason that dropped a sample of some teacher."""
    kept, *reasons = outcome_names(comparison)
    return {kept: _KEPT_COLOUR, **_coloured(reasons)}


def systems_chart(table: HeldOutTable, metric: str) -> go.Figure:
    """A dot and its interval for each system of a table that has the metric."""
    rows = [row for row in table.rows if metric in row.metrics]
    intervals = [row.metrics[metric] for row in rows]
    colours = [_colour_of_kind(row.kind) for row in rows]
    return _dots_figure([row.system for row in rows], intervals, colours)


def ratings_chart(ratings: Sequence[RatingCorrelations], coefficient: str) -> go.Figure:
    """A dot and its interval for each scorer that has this correlation with human ratings."""
    intervals: dict[str, Interval] = {}
    for row in ratings:
        interval = getattr(row, coefficient)
        if interval is not None:
            intervals[row.scorer] = interval

    colours = [KIND_COLOURS["teacher"]] * len(intervals)
    return _dots_figure(list(intervals), list(intervals.values()), colours, chance=0)


def latency_chart(comparison: Comparison) -> go.Figure:
    """hits@1/20 against milliseconds, of the teachers by name and of more than a few systems by number."""
    points = timed_points(comparison)
    low, high = range_of([point.interval for point in points])
    margin = MARGIN_PX | {"l": 8, "b": 46}
    px_per_unit = (_LATENCY_PX - margin["t"] - margin["b"]) / (high - low)
    shifts_px = label_shifts(points, px_per_unit)

    figure = go.Figure([timed_dot(point) for point in points])
    figure.update_layout(layout(_LATENCY_PX), margin=margin)
    figure.update_layout(annotations=[leader(*label) for label in zip(points, shifts_px, strict=True)])

    first = min(points, key=lambda point: point.p50_ms)
    fastest, slowest = log10(first.p50_ms), log10(max(point.p95_ms for point in points))
    decades_per_px = max(slowest - fastest, 1) / (_PHONE_PX - label_px(first))
    figure.update_xaxes(
        axis("milliseconds"),
        type="log",
        dtick=1 if slowest - fastest > 1.5 else None,
        range=[fastest - label_px(first) * decades_per_px, slowest + 12 * decades_per_px],
    )
    figure.update_yaxes(axis(), range=[low, high], automargin=True)
    return figure


def timed_points(comparison: Comparison) -> list[TimedPoint]:
    """The systems and the teachers of which both the time and hits@1/20 are known."""
    latency, metric = comparison.latency, "hits@1/20"
    if latency is None:
        return []

    numbers = system_numbers(comparison)
    shows_names = len(latency.students) <= _MAX_NAMED_POINTS
    points = []
    for row in comparison.tables[0].rows:
        if row.system in latency.students and metric in row.metrics:
            times = latency.students[row.system]
            label = wrapped(row.system, 20) if shows_names else str(numbers[row.system])
            colour = _colour_of_kind(row.kind)
            points.append(
                TimedPoint(row.system, label, times.p50_ms, times.p95_ms, row.metrics[metric], colour)
            )

    for teacher, measures in comparison.teachers.measures.items():
        if teacher in latency.teachers:
            times, interval = latency.teachers[teacher], _point_interval(measures[metric])
            label, colour = wrapped(teacher, 20), KIND_COLOURS["teacher"]
            points.append(TimedPoint(teacher, label, times.p50_ms, times.p95_ms, interval, colour))
    return points


def sparsity_chart(comparison: Comparison) -> go.Figure:
    """MRR against the terms of a context, of the sparse systems by number."""
    numbers = system_numbers(comparison)
    rows = [row for row in comparison.tables[0].rows if row.system in comparison.sparsity]
    figure = go.Figure()
    for row in rows:
        num_terms = comparison.sparsity[row.system]["context_terms"]
        colour, label = _colour_of_kind(row.kind), str(numbers[row.system])
        figure.add_trace(upright_dot(row.system, num_terms, row.metrics["mrr"], colour, label))

    figure.update_layout(layout(_CURVES_PX), margin=MARGIN_PX | {"b": 46})
    figure.update_xaxes(axis("terms of a context"), type="log")
    figure.update_yaxes(axis(), range=range_of([row.metrics["mrr"] for row in rows]), automargin=True)
    return figure


def curves_chart(curves: Mapping[str, Mapping[str, Reports]], measure: str) -> go.Figure:
    """A line of the seeds' mean for each system, and a thin one for each of several seeds, by step.

    The lines of system 0, 1, … are in the legend group of that name.
    """
    seed_lines, mean_lines = [], []
    for number, (system, colour) in enumerate(_coloured(curves).items()):
        by_seed = [_by_step(reports, measure) for reports in curves[system].values()]
        means = _means_by_step(by_seed)
        mean = line(list(means), list(means.values()), colour, width=2.2, opacity=1)
        mean.update(name=plain(system), hovertemplate=hover("step %{x}: %{y:.3f}"))
        mean_lines.append(mean.update(legendgroup=str(number)))

        for by_step in by_seed if len(by_seed) > 1 else []:
            thin = line(list(by_step), list(by_step.values()), colour, width=1, opacity=0.3)
            seed_lines.append(thin.update(legendgroup=str(number), hoverinfo="skip"))

    figure = go.Figure(seed_lines + mean_lines)
    figure.update_layout(layout(_CURVES_PX), margin=MARGIN_PX | {"l": 8, "b": 46})
    figure.update_xaxes(axis("step"))
    figure.update_yaxes(axis(), automargin=True)
    return figure


def hits_chart(teachers: Teachers) -> go.Figure:
    """A bar of hits@1/20 for each teacher."""
    hits = {name: measures["hits@1/20"] for name, measures in teachers.measures.items()}
    figure, ys = rows_figure(list(hits), [f"{value:.3f}" for value in hits.values()], [0, 1])
    figure.add_trace(bars(list(hits), list(hits.values()), ys, KIND_COLOURS["teacher"], "%{x:.3f}"))
    return figure


def entropies_chart(teachers: Teachers) -> go.Figure:
    """Bars of cross-entropy and entropy in nats for each teacher, with a line at those of twenty equals."""
    names, texts = [], []
    lengths: dict[str, list[float]] = {column.key: [] for column in ENTROPY_COLOURS}
    for name, measures in teachers.measures.items():
        if not lengths.keys() <= measures.keys():
            continue
        names.append(name)
        for key, values in lengths.items():
            values.append(measures[key])
        texts.append(_coloured_values([measures[key] for key in lengths], ENTROPY_COLOURS.values()))

    longest = max((max(values, default=0) for values in lengths.values()), default=0)
    figure, ys = rows_figure(names, texts, [0, 1.04 * max(longest, log(20))])
    for (column, colour), shift_px in zip(ENTROPY_COLOURS.items(), (-5, 5), strict=True):
        shifted = [y + shift_px for y in ys]
        trace = bars(names, lengths[column.key], shifted, colour, f"{column.title} %{{x:.3f}}")
        figure.add_trace(trace.update(width=8))

    figure.add_shape(reference(log(20)))
    return figure


def agreement_chart(teachers: Teachers) -> go.Figure:
    """A heat map of Kendall's tau between teachers, whose letters stand for them above the columns."""
    taus = teachers.kendall_tau

    def tau_of(a: str, b: str) -> float | None:
        return taus.get(f"{a} × {b}", taus.get(f"{b} × {a}"))

    paired: set[str] = set()
    for pair in taus:
        paired.update(pair.split(" × "))
    names = [name for name in teachers.measures if name in paired]

    cells = []
    for name in names:
        cells.append([tau_of(name, other) for other in names])
    heat_map = go.Heatmap(
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
    figure = go.Figure(heat_map)
    figure.update_layout(layout(30 + 56 * len(names)), margin={"l": 4, "r": 4, "t": 4, "b": 4})

    letters = [f"<b>{letter}</b>" for letter in ascii_uppercase[: len(names)]]
    rows = [f"{wrapped(name, 18)}  {letter}" for name, letter in zip(names, letters, strict=True)]
    ticks = {"tickvals": list(range(len(names))), "automargin": True, "showgrid": False}
    figure.update_xaxes(axis(), **ticks, ticktext=letters, side="top")
    figure.update_yaxes(axis(), **ticks, ticktext=rows, autorange="reversed", ticklabelstandoff=4)
    return figure


def filters_chart(comparison: Comparison) -> go.Figure:
    """A bar of what was kept and dropped of each teacher's samples, in percent."""
    filters, colours = comparison.filters, outcome_colours(comparison)
    totals = [max(sum(counts.values()), 1) for counts in filters.values()]
    shares: dict[str, list[float]] = {}
    for outcome in colours:
        counts = [of_teacher.get(outcome, 0) for of_teacher in filters.values()]
        shares[outcome] = [100 * count / total for count, total in zip(counts, totals, strict=True)]

    figure, ys = rows_figure(list(filters), [f"kept {share:.0f} %" for share in shares["kept"]], [0, 100])
    for outcome, colour in colours.items():
        label = f"{plain(outcome)}: %{{customdata:,}} (%{{x:.1f}} %)"
        trace = bars(list(filters), shares[outcome], ys, colour, label)
        counts = [of_teacher.get(outcome, 0) for of_teacher in filters.values()]
        figure.add_trace(trace.update(customdata=counts))

    figure.update_layout(barmode="stack")
    figure.update_xaxes(ticksuffix=" %")
    return figure


def judgement_chart(rows: Sequence[Row]) -> go.Figure:
    """Two dots for each system: how often a judge prefers it to human and to generated responses.

    `rows` are of a table of judgements, see `jobs.reports.tables`.
    """
    names, texts, pairs = [], [], []
    shown = [_point_interval(0.5)]
    for row in rows:
        names.append(f"{row['system']}\N{NO-BREAK SPACE}*" if row["trained_on"] else row["system"])
        win_rates = [row[column.key] for column in WIN_RATE_COLOURS]
        pairs.append(win_rates)
        shown += win_rates
        texts.append(_coloured_values([rate.mean for rate in win_rates], WIN_RATE_COLOURS.values()))

    figure, ys = rows_figure(names, texts, range_of(shown))
    figure.add_shape(reference(0.5))
    for name, win_rates, y in zip(names, pairs, ys, strict=True):
        for rate, colour, shift_px in zip(win_rates, WIN_RATE_COLOURS.values(), (-5, 4), strict=True):
            figure.add_trace(dot(name, rate, y + shift_px, colour, size=8))
    return figure


def _dots_figure(
    names: Sequence[str], intervals: Sequence[Interval], colours: Sequence[str], chance: float | None = None
) -> go.Figure:
    """A row with a dot and its interval for each name, and a dotted line at `chance`."""
    shown = [*intervals, *([] if chance is None else [_point_interval(chance)])]
    figure, ys = rows_figure(names, [f"{interval.mean:.3f}" for interval in intervals], range_of(shown))
    if chance is not None:
        figure.add_shape(reference(chance))

    for name, interval, y, colour in zip(names, intervals, ys, colours, strict=True):
        figure.add_trace(dot(name, interval, y, colour))
    return figure


def _by_step(reports: Reports, measure: str) -> dict[int, float]:
    return {int(report["step"]): report[measure] for report in reports if measure in report}


def _means_by_step(by_seed: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Step -> mean over the seeds that have it."""
    means = {}
    for step in sorted(set().union(*by_seed)):
        means[step] = fmean(by_step[step] for by_step in by_seed if step in by_step)
    return means


def _coloured(names: Sequence[str] | Mapping[str, object]) -> dict[str, str]:
    return {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}


def _coloured_values(values: Sequence[float], colours: Iterable[str]) -> str:
    """Values as plotly shows them in their colours."""
    spans = [
        f'<span style="color: {colour}">{value:.2f}</span>'
        for value, colour in zip(values, colours, strict=True)
    ]
    return " · ".join(spans)


def _colour_of_kind(kind: str) -> str:
    return KIND_COLOURS.get(kind, _OTHER_COLOUR)


def _point_interval(value: float) -> Interval:
    """The interval of a value that was measured without one."""
    return Interval(value, value, value)
