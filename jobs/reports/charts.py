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
    plane_figure,
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
    dots = {}
    for row in table.rows:
        if metric in row.metrics:
            dots[row.system] = (row.metrics[metric], _colour_of_kind(row.kind))
    return _dots_figure(dots)


def ratings_chart(ratings: Sequence[RatingCorrelations], coefficient: str) -> go.Figure:
    """A dot and its interval for each scorer that has this correlation with human ratings."""
    dots = {}
    for row in ratings:
        interval = getattr(row, coefficient)
        if interval is not None:
            dots[row.scorer] = (interval, KIND_COLOURS["teacher"])
    return _dots_figure(dots, chance=0)


def latency_chart(comparison: Comparison) -> go.Figure:
    """hits@1/20 against milliseconds, of the teachers by name and of more than a few systems by number."""
    points = timed_points(comparison)
    low, high = range_of([point.interval for point in points])
    figure = plane_figure(list(map(timed_dot, points)), _LATENCY_PX, "milliseconds")
    margin = figure.layout.margin
    px_per_unit = (_LATENCY_PX - margin.t - margin.b) / (high - low)
    figure.update_layout(annotations=list(map(leader, points, label_shifts(points, px_per_unit))))

    first = min(points, key=lambda point: point.p50_ms)
    fastest, slowest = log10(first.p50_ms), log10(max(point.p95_ms for point in points))
    decades_per_px = max(slowest - fastest, 1) / (_PHONE_PX - label_px(first))
    figure.update_xaxes(
        type="log",
        dtick=1 if slowest - fastest > 1.5 else None,
        range=[fastest - label_px(first) * decades_per_px, slowest + 12 * decades_per_px],
    )
    return figure.update_yaxes(range=[low, high])


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
    traces, intervals = [], []
    for row in comparison.tables[0].rows:
        if row.system in comparison.sparsity:
            num_terms, interval = comparison.sparsity[row.system]["context_terms"], row.metrics["mrr"]
            colour, label = _colour_of_kind(row.kind), str(numbers[row.system])
            traces.append(upright_dot(row.system, num_terms, interval, colour, label))
            intervals.append(interval)

    figure = plane_figure(traces, _CURVES_PX, "terms of a context")
    figure.update_layout(margin_l=MARGIN_PX["l"])
    figure.update_xaxes(type="log")
    return figure.update_yaxes(range=range_of(intervals))


def curves_chart(curves: Mapping[str, Mapping[str, Reports]], measure: str) -> go.Figure:
    """A line of the seeds' mean for each system, and a thin one for each of several seeds, by step.

    The lines of system 0, 1, … are in the legend group of that name.
    """
    seed_lines, mean_lines = [], []
    for number, (system, colour) in enumerate(_coloured(curves).items()):
        by_seed = []
        for reports in curves[system].values():
            by_seed.append(_by_step(reports, measure))
        mean = line(_means_by_step(by_seed), colour, width=2.2, opacity=1)
        mean.update(name=plain(system), hovertemplate=hover("step %{x}: %{y:.3f}"))
        mean_lines.append(mean.update(legendgroup=str(number)))

        if len(by_seed) > 1:
            for by_step in by_seed:
                thin = line(by_step, colour, width=1, opacity=0.3)
                seed_lines.append(thin.update(legendgroup=str(number), hoverinfo="skip"))
    return plane_figure(seed_lines + mean_lines, _CURVES_PX, "step")


def hits_chart(teachers: Teachers) -> go.Figure:
    """A bar of hits@1/20 for each teacher."""
    hits, texts = [], {}
    for name, measures in teachers.measures.items():
        hits.append(measures["hits@1/20"])
        texts[name] = f"{hits[-1]:.3f}"

    figure, ys = rows_figure(texts, [0, 1])
    return figure.add_trace(bars(texts, hits, ys, KIND_COLOURS["teacher"], "%{x:.3f}"))


def entropies_chart(teachers: Teachers) -> go.Figure:
    """Bars of cross-entropy and entropy in nats for each teacher, with a line at those of twenty equals."""
    keys = [column.key for column in ENTROPY_COLOURS]
    rows, texts = [], {}
    longest = log(20)
    for name, measures in teachers.measures.items():
        if measures.keys() >= set(keys):
            rows.append([measures[key] for key in keys])
            texts[name] = _coloured_values(rows[-1], ENTROPY_COLOURS.values())
            longest = max(longest, *rows[-1])

    figure, ys = rows_figure(texts, [0, 1.04 * longest])
    for place, (column, colour) in enumerate(ENTROPY_COLOURS.items()):
        lengths, shifted = [row[place] for row in rows], [y - 5 + 10 * place for y in ys]
        trace = bars(texts, lengths, shifted, colour, f"{column.title} %{{x:.3f}}")
        figure.add_trace(trace.update(width=8))
    return figure.add_shape(reference(log(20)))


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
    bars_of_outcomes = []
    texts: dict[str, str] = {}
    for outcome, colour in outcome_colours(comparison).items():
        outcome_counts, shares = [], []
        for teacher, counts in comparison.filters.items():
            outcome_counts.append(counts.get(outcome, 0))
            shares.append(100 * outcome_counts[-1] / max(sum(counts.values()), 1))
            texts.setdefault(teacher, f"kept {shares[-1]:.0f} %")  # that outcome comes first
        bars_of_outcomes.append((outcome, colour, outcome_counts, shares))

    figure, ys = rows_figure(texts, [0, 100])
    for outcome, colour, outcome_counts, shares in bars_of_outcomes:
        label = f"{plain(outcome)}: %{{customdata:,}} (%{{x:.1f}} %)"
        figure.add_trace(bars(texts, shares, ys, colour, label).update(customdata=outcome_counts))

    figure.update_layout(barmode="stack")
    return figure.update_xaxes(ticksuffix=" %")


def judgement_chart(rows: Sequence[Row]) -> go.Figure:
    """Two dots for each system: how often a judge prefers it to human and to generated responses.

    `rows` are of a table of judgements, see `jobs.reports.tables`.
    """
    texts, dots = {}, []
    shown = [_point_interval(0.5)]
    for row in rows:
        name = f"{row['system']}\N{NO-BREAK SPACE}*" if row["trained_on"] else row["system"]
        human, generated = row[WINS_OVER_HUMAN.key], row[WINS_OVER_GENERATED.key]
        texts[name] = _coloured_values([human.mean, generated.mean], WIN_RATE_COLOURS.values())
        dots.append((name, human, generated))
        shown += [human, generated]

    figure, ys = rows_figure(texts, range_of(shown))
    figure.add_shape(reference(0.5))
    for (name, human, generated), y in zip(dots, ys, strict=True):
        figure.add_trace(dot(name, human, y - 5, WIN_RATE_COLOURS[WINS_OVER_HUMAN], size=8))
        figure.add_trace(dot(name, generated, y + 4, WIN_RATE_COLOURS[WINS_OVER_GENERATED], size=8))
    return figure


def _dots_figure(dots: Mapping[str, tuple[Interval, str]], chance: float | None = None) -> go.Figure:
    """A row with a dot of an interval and a colour for each name, and a dotted line at `chance`."""
    texts, shown = {}, []
    for name, (interval, _) in dots.items():
        texts[name] = f"{interval.mean:.3f}"
        shown.append(interval)
    if chance is not None:
        shown.append(_point_interval(chance))

    figure, ys = rows_figure(texts, range_of(shown))
    if chance is not None:
        figure.add_shape(reference(chance))
    for (name, (interval, colour)), y in zip(dots.items(), ys, strict=True):
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


def _coloured_values(values: Iterable[float], colours: Iterable[str]) -> str:
    """Values as plotly shows them in their colours."""
    spans = []
    for value, colour in zip(values, colours, strict=True):
        spans.append(f'<span style="color: {colour}">{value:.2f}</span>')
    return " · ".join(spans)


def _colour_of_kind(kind: str) -> str:
    return KIND_COLOURS.get(kind, _OTHER_COLOUR)


def _point_interval(value: float) -> Interval:
    """The interval of a value that was measured without one."""
    return Interval(value, value, value)
