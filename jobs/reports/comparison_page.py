"""The report page of a comparison of systems."""

from collections.abc import Iterable, Mapping

import plotly.graph_objects as go
from markupsafe import Markup

from jobs.reports import charts, tables
from jobs.reports.columns import CURVES, RATINGS, Column, Table
from jobs.reports.comparison import Comparison, HeldOutTable
from jobs.reports.pages import chart_html, environment, plotly_js

_DRAWN_METRICS = ("hits@1/20", "mrr")
_DRAWN_COEFFICIENTS = ("spearman", "spearman_within")

Figures = dict[str, go.Figure]
"""Charts by title."""


def comparison_page(comparison: Comparison) -> str:
    """The whole page, with an outline of its sections; a part without content is left out."""
    sections = tables.sections(comparison)
    html = {}
    for section, figures in _figures(comparison, sections["judgements"]).items():
        html[section] = _charts_html(section, figures)

    template = environment().get_template("comparison.html.j2")
    return template.render(
        **vars(comparison),
        plotly_js=plotly_js(),
        charts=html,
        sections=sections,
        systems_tables=[_systems_table(table) for table in comparison.tables],
        differences_tables=[tables.differences_table(table) for table in comparison.tables],
        best=[_best_means(table) for table in comparison.tables],
        numbers=charts.system_numbers(comparison),
        **_legends(comparison),
    )


def _legends(comparison: Comparison) -> dict[str, Mapping[str, str]]:
    """Names and their colours."""
    kinds: set[str] = set()
    timed_kinds = {"teacher"}
    for table in comparison.tables:
        for row in table.rows:
            kinds.add(row.kind)
            if comparison.latency and row.system in comparison.latency.students:
                timed_kinds.add(row.kind)

    return {
        "kind_colours": _kind_colours(kinds),
        "timed_colours": _kind_colours(timed_kinds),
        "curve_colours": charts.curve_colours(comparison),
        "outcome_colours": charts.outcome_colours(comparison),
        "entropy_colours": _titled(charts.ENTROPY_COLOURS),
        "win_rate_colours": _titled(charts.WIN_RATE_COLOURS),
    }


def _figures(comparison: Comparison, judgements: Iterable[Table]) -> dict[str, Figures]:
    """The charts of each section, those of a held-out set under `systems 1` and so on."""
    figures = {"latency": {}, "sparsity": {}, "curves": {}, **_teacher_figures(comparison)}
    for number, table in enumerate(comparison.tables, 1):
        metrics = [metric for metric in _DRAWN_METRICS if metric in table.metrics]
        figures[f"systems {number}"] = {metric: charts.systems_chart(table, metric) for metric in metrics}

    if charts.timed_points(comparison):
        figures["latency"] = {"hits@1/20": charts.latency_chart(comparison)}
    if len(comparison.sparsity) > 1:
        figures["sparsity"] = {"mrr": charts.sparsity_chart(comparison)}
    for column in CURVES:
        if _is_reported(comparison, column.key):
            figures["curves"][column.title] = charts.curves_chart(comparison.learning_curves, column.key)

    figures["judgements"] = {table.title: charts.judgement_chart(table.rows) for table in judgements}
    return figures


def _teacher_figures(comparison: Comparison) -> dict[str, Figures]:
    teachers = comparison.teachers
    figures: dict[str, Figures] = {"calibration": {}, "agreement": {}, "ratings": {}, "filters": {}}
    if teachers.measures:
        figures["calibration"]["hits@1/20"] = charts.hits_chart(teachers)
    if any("entropy" in measures for measures in teachers.measures.values()):
        figures["calibration"]["cross-entropy · entropy, nats"] = charts.entropies_chart(teachers)
    if teachers.kendall_tau:
        figures["agreement"][""] = charts.agreement_chart(teachers)

    for column in RATINGS:
        is_measured = any(getattr(row, column.key) for row in teachers.ratings)
        if column.key in _DRAWN_COEFFICIENTS and is_measured:
            figures["ratings"][column.title] = charts.ratings_chart(teachers.ratings, column.key)

    if comparison.filters:
        figures["filters"][""] = charts.filters_chart(comparison)
    return figures


def _charts_html(section: str, figures: Figures) -> list[tuple[str, Markup]]:
    """(title, chart)"""
    charts_html = []
    for number, (title, figure) in enumerate(figures.items(), 1):
        charts_html.append((title, chart_html(figure, f"{section}-{number}".replace(" ", "-"))))
    return charts_html


def _systems_table(table: HeldOutTable) -> Table:
    return tables.systems_table(table).select(*table.metrics, "seeds")


def _best_means(table: HeldOutTable) -> dict[str, float]:
    """Metric -> its highest mean, as it is shown."""
    best = {}
    for metric in table.metrics:
        means = [row.metrics[metric].mean for row in table.rows if metric in row.metrics]
        best[metric] = round(max(means), 3)
    return best


def _kind_colours(kinds: set[str]) -> dict[str, str]:
    return {kind: colour for kind, colour in charts.KIND_COLOURS.items() if kind in kinds}


def _titled(colours: Mapping[Column, str]) -> dict[str, str]:
    return {column.title: colour for column, colour in colours.items()}


def _is_reported(comparison: Comparison, measure: str) -> bool:
    for by_seed in comparison.learning_curves.values():
        for reports in by_seed.values():
            if any(measure in report for report in reports):
                return True
    return False
