"""The charts of a comparison of systems, by section of the page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log

from jobs.reports import columns
from jobs.reports.charts import Dot, Line, Mark, Plane, Rows, Scale
from jobs.reports.comparison import Comparison, LabelCurve, Teachers
from jobs.reports.tables import outcome_names, sections, systems_table
from student.evaluation.measured_systems import means_by_step
from student.evaluation.statistics import Interval

_KIND_COLOURS = {"baseline": "#6b7280", "dense": "#1d6fb8", "sparse": "#c2410c", "teacher": "#15803d"}
_ENTROPY_COLOURS = {columns.CROSS_ENTROPY: "#1d6fb8", columns.ENTROPY: "#b7720b"}
_WIN_RATE_COLOURS = {columns.WINS_OVER_HUMAN: "#1d6fb8", columns.WINS_OVER_UNTRAINED: "#c2410c"}
_LABEL_CURVE_COLOURS = {"with teachers": "#15803d", "without teachers": "#1d6fb8"}
# Okabe and Ito's colours, told apart by the colour-blind too, and five for what comes after them.
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#8c6d1f",
    "var(--text)",
    "#999",
    "#7a5cc0",
    "#b03a5b",
    "#6b8e23",
)
_KEPT_COLOURS = {"kept": "#4f8a7b", "kept shortened": "#a7c4bc"}
_DRAWN_METRICS = ("hits@1/20", "mrr")
_MAX_NAMED_POINTS = 3


@dataclass(frozen=True)
class Figure:
    """Charts by title, and the colours of their parts by name."""

    charts: Mapping[str, Rows | Plane]
    legend: Mapping[str, str]


def comparison_figures(comparison: Comparison) -> dict[str, Figure]:
    """The figure of each section, those of a held-out set under `systems 1` and so on."""
    by_section = sections(comparison)
    [teachers], [ratings] = by_section["teachers"], by_section["ratings"]
    kinds = {row.kind for table in comparison.tables for row in table.rows}

    figures = {}
    for number, held_out in enumerate(comparison.tables, 1):
        table = systems_table(held_out)
        charts = {metric: table_chart(table, {metric: ""}) for metric in _DRAWN_METRICS}
        figures[f"systems {number}"] = _figure(charts, _kind_colours(kinds))

    entropies = {column.key: colour for column, colour in _ENTROPY_COLOURS.items()}
    calibration = {
        "hits@1/20": table_chart(teachers, {"hits@1/20": _KIND_COLOURS["teacher"]}, is_bars=True),
        "cross-entropy · entropy, nats": table_chart(teachers, entropies, log(20), is_bars=True),
    }
    correlations = {}
    for column in columns.RATINGS[:2]:
        correlations[column.title] = table_chart(ratings, {column.key: _KIND_COLOURS["teacher"]}, 0)

    win_rates = {column.key: colour for column, colour in _WIN_RATE_COLOURS.items()}
    judgements = {table.title: table_chart(table, win_rates, 0.5) for table in by_section["judgements"]}
    return figures | {
        "label curve": _label_curve_figure(comparison.label_curve),
        "latency": _latency_figure(comparison),
        "curves": _curves_figure(comparison),
        "calibration": _figure(calibration, {one.title: colour for one, colour in _ENTROPY_COLOURS.items()}),
        "ratings": _figure(correlations, {}),
        "filters": _filters_figure(comparison),
        "judgements": _figure(judgements, {one.title: colour for one, colour in _WIN_RATE_COLOURS.items()}),
        "sparsity": _sparsity_figure(comparison, kinds),
    }


def table_chart(
    table: columns.Table, colours: Mapping[str, str], reference: float | None = None, is_bars: bool = False
) -> Rows:
    """The values of some columns in each row that has one, on a scale that has them and the reference.

    `colours` are by key of a column; a row with a kind has that kind's colour.
    """
    rows = []
    ends = [] if reference is None else [reference]
    for row in table.rows:
        name = row[table.columns[0].key] + ("\N{NO-BREAK SPACE}*" if row.get("trained_on") else "")
        marks = []
        for key, colour in colours.items():
            if (value := row.get(key)) is not None:
                interval = value if isinstance(value, Interval) else _point_interval(value)
                ends += [interval.low, interval.high]
                title = f"{name}: {interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
                colour = _KIND_COLOURS.get(row.get("kind", ""), colour)
                marks.append(Mark(interval, colour, title, f"{interval.mean:.3f}", 0 if is_bars else None))
        if marks:
            rows.append((name, marks))

    scale = Scale(0, 1.04 * max([1, *ends])) if is_bars else Scale.over(ends)
    return Rows(rows, scale, reference)


def system_numbers(comparison: Comparison) -> dict[str, int]:
    """The number from 1 of each system, in the order of the tables."""
    names: dict[str, None] = {}
    for table in comparison.tables:
        names |= dict.fromkeys(row.system for row in table.rows)
    return {name: number for number, name in enumerate(names, 1)}


def _latency_figure(comparison: Comparison) -> Figure:
    """hits@1/20 against milliseconds, of the teachers by name and of more than a few systems by number."""
    latency, metric = comparison.latency, "hits@1/20"
    if latency is None:
        return Figure({}, {})

    numbers = system_numbers(comparison)
    measured = []
    for row in comparison.tables[0].rows:
        if row.system in latency.students and metric in row.metrics:
            label = row.system if len(latency.students) <= _MAX_NAMED_POINTS else str(numbers[row.system])
            times = latency.students[row.system]
            measured.append((row.system, label, row.kind, row.metrics[metric], times))
    for teacher, measures in comparison.teachers.measures.items():
        if teacher in latency.teachers:
            interval = _point_interval(measures[metric])
            measured.append((teacher, teacher, "teacher", interval, latency.teachers[teacher]))

    dots = []
    for name, label, kind, interval, times in measured:
        title = f"{name}: {interval.mean:.3f} at {times.p50_ms:.3g} ms, 95 % within {times.p95_ms:.3g} ms"
        dots.append(Dot(times.p50_ms, interval, _KIND_COLOURS[kind], title, label, times.p95_ms))
    kinds = {kind for _, _, kind, *_ in measured}
    return _figure({metric: _dots_plane(dots, "milliseconds")}, _kind_colours(kinds))


def _label_curve_figure(curve: LabelCurve | None) -> Figure:
    """A line with teachers and one without, over numbers of conversations at equal distances."""
    if curve is None:
        return Figure({}, {})

    dots: list[Dot] = []
    lines: list[Line] = []
    for group, (name, colour) in enumerate(_LABEL_CURVE_COLOURS.items()):
        points = []
        for place, point in enumerate(curve.points):
            interval = point.with_teachers if name == "with teachers" else point.without_teachers
            if interval is not None:
                title = f"{name}, {point.conversations} conversations: {interval.mean:.3f}"
                x_place = place + (0.03 if group else -0.03)  # beside each other
                dots.append(Dot(x_place, interval, colour, title))
                points.append((x_place, interval.mean))
        lines.append(Line(points, colour, name, group))

    y = Scale.over(end for dot in dots for end in (dot.interval.low, dot.interval.high))
    names = [point.conversations for point in curve.points]
    x = Scale(-0.5, len(names) - 0.5)
    plane = Plane(x, y, "conversations with human responses", dots, lines, categories=names)
    return _figure({curve.metric: plane}, _LABEL_CURVE_COLOURS)


def _sparsity_figure(comparison: Comparison, kinds: set[str]) -> Figure:
    """MRR against the terms of a context, of the sparse systems by number; nothing to compare for one."""
    numbers = system_numbers(comparison)
    dots = []
    for row in comparison.tables[0].rows if len(comparison.sparsity) > 1 else ():
        if row.system in comparison.sparsity:
            num_terms, interval = comparison.sparsity[row.system]["context_terms"], row.metrics["mrr"]
            title = f"{row.system}: {interval.mean:.3f} with {num_terms:.0f} terms"
            label = str(numbers[row.system])
            dots.append(Dot(num_terms, interval, _KIND_COLOURS[row.kind], title, label))
    return _figure({"mrr": _dots_plane(dots, "terms of a context")}, _kind_colours(kinds))


def _dots_plane(dots: Sequence[Dot], x_title: str) -> Plane:
    """Dots over a logarithmic axis, with room for the labels of the first."""
    xs: list[float] = []
    ys: list[float] = []
    for dot in dots:
        xs += [dot.x, dot.x_high or dot.x]
        ys += [dot.interval.low, dot.interval.high]
    return Plane(Scale.over(xs, is_log=True, space=0.15), Scale.over(ys), x_title, dots)


def _curves_figure(comparison: Comparison) -> Figure:
    """A line of the seeds' mean for each system, and a thin one for each of several seeds, by step.

    The lines of system 0, 1, … are in the group of that number.
    """
    colours = _coloured(comparison.learning_curves)
    charts = {}
    for column in columns.CURVES:
        thin_lines, mean_lines = [], []
        for group, (system, by_seed) in enumerate(comparison.learning_curves.items()):
            seeds = []
            for reports in by_seed.values():
                lines = [line for line in reports if column.key in line]
                seeds.append({int(line["step"]): line[column.key] for line in lines})
            for by_step in seeds if len(seeds) > 1 else ():
                points = list(by_step.items())
                thin_lines.append(Line(points, colours[system], system, group, is_thin=True))
            mean_lines.append(Line(means_by_step(seeds), colours[system], system, group))

        steps, values = [], []
        for line in thin_lines + mean_lines:
            steps += [step for step, _ in line.points]
            values += [value for _, value in line.points]
        lines_of_all = [line for line in thin_lines + mean_lines if line.points]
        charts[column.title] = Plane(Scale.over(steps), Scale.over(values), "step", lines=lines_of_all)
    return _figure(charts, colours)


def _filters_figure(comparison: Comparison) -> Figure:
    """A bar of what was kept and dropped of each teacher's samples, in percent."""
    outcomes = outcome_names(comparison)
    kept = [outcome for outcome in outcomes if outcome in _KEPT_COLOURS]
    colours = {outcome: _KEPT_COLOURS[outcome] for outcome in kept}
    colours |= _coloured(outcome for outcome in outcomes if outcome not in kept)

    rows = []
    for teacher, counts in comparison.filters.items():
        marks: list[Mark] = []
        start = 0.0
        total = max(sum(counts.values()), 1)
        share_kept = 100 * sum(counts.get(outcome, 0) for outcome in kept) / total
        for outcome, colour in colours.items():
            count = counts.get(outcome, 0)
            share = 100 * count / total
            text = "" if marks else f"kept {share_kept:.0f} %"
            title = f"{outcome}: {count:,} ({share:.1f} %)"
            marks.append(Mark(_point_interval(start + share), colour, title, text, start))
            start += share
        rows.append((teacher, marks))
    return _figure({"": Rows(rows, Scale(0, 100), unit="%", is_stacked=True)}, colours)


def coverage_figure(rows: Sequence[Mapping[str, float]]) -> Figure:
    """A line of the quality of answers, from the most usual turns to all, by `quality_by_coverage`."""
    [coverage, _, quality] = columns.COVERAGE
    points = [(row[coverage.key], row[quality.key]) for row in rows]
    line = Line(points, _KIND_COLOURS["dense"], quality.title, 0)
    y = Scale.over(value for _, value in points)
    return _figure({quality.title: Plane(Scale(0, 1), y, f"share of {coverage.title}", lines=[line])}, {})


def agreement_matrix(teachers: Teachers) -> dict[str, list[float | None]]:
    """Kendall's tau between each teacher and all of them, in their order."""
    taus = teachers.kendall_tau
    paired = set(" × ".join(taus).split(" × "))
    names = [name for name in teachers.measures if name in paired]

    matrix = {}
    for name in names:
        matrix[name] = [taus.get(f"{name} × {other}", taus.get(f"{other} × {name}")) for other in names]
    return matrix


def _figure(charts: Mapping[str, Rows | Plane], legend: Mapping[str, str]) -> Figure:
    """A figure of the charts that have content."""
    drawn = {}
    for title, chart in charts.items():
        if chart.rows if isinstance(chart, Rows) else [*chart.dots, *chart.lines]:
            drawn[title] = chart
    return Figure(drawn, legend)


def _kind_colours(kinds: set[str]) -> dict[str, str]:
    return {kind: colour for kind, colour in _KIND_COLOURS.items() if kind in kinds}


def _coloured(names: Iterable[str]) -> dict[str, str]:
    return {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}


def _point_interval(value: float) -> Interval:
    """The interval of a value that was measured without one."""
    return Interval(value, value, value)
