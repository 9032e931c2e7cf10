"""The report page of a comparison of systems: one HTML file that loads nothing else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from jobs.reports import charts

TEMPLATES = Path(__file__).parent / "templates"
_DRAWN_METRICS = ("hits@1/20", "mrr")
_CURVES = {"validation_mrr": "mrr on validation", "loss": "training loss"}
_COEFFICIENTS = {
    "spearman": "Spearman",
    "spearman_within": "Spearman, within a context",
    "kendall": "Kendall",
    "kendall_within": "Kendall, within a context",
}
_PARTS: dict[str, Any] = {
    "answers": [],
    "sparsity": {},
    "learning_curves": {},
    "filters": {},
    "latency": None,
    "reading": [],
}
_TEACHER_PARTS: dict[str, Any] = {"measures": {}, "kendall_tau": {}, "ratings": []}
_TIMES = {"p50_ms": "p50\N{NO-BREAK SPACE}ms", "p95_ms": "p95\N{NO-BREAK SPACE}ms", "requests": "requests"}
_MEASURES = {
    "hits@1/20": "hits@1/20",
    "mrr": "mrr",
    "cross_entropy": "cross-entropy, nats",
    "entropy": "entropy, nats",
    "spread": "spread of scores",
    "contexts": "contexts",
}
_ANSWERS = {
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "words": "words",
    "generated_share": "generated",
}
_JUDGEMENTS = {
    "win_rate_human": "wins against people's replies",
    "win_rate_generated": "wins against generated replies",
    "mutual_information": "mutual information",
}
_SPARSITY = {"context_terms": "terms of a context", "response_terms": "terms of a response", "flops": "flops"}
_SECTIONS = ("latency", "curves", "calibration", "agreement", "ratings", "filters", "judgements", "sparsity")
_CONFIG = {"responsive": True, "displayModeBar": False}

Charts = list[tuple[str, Markup]]
"""(title, chart)"""


@dataclass(frozen=True)
class Sheet:
    """A table of numbers and intervals."""

    label: str
    first: str
    """Title of the column of names."""
    columns: Mapping[str, str]
    """Title of each column."""
    rows: Iterable[tuple[str, Mapping[str, Any]]]
    """(name, values by column); what is missing is shown as a dash."""
    names_systems: bool = True
    """Whether the names are those of systems: a teacher may be called as a system is."""


def comparison_page(comparison: dict[str, Any]) -> str:
    """The whole page, with an outline of its sections; a part without content is left out.

    An interval is `{"mean", "low", "high"}`, 95 % by bootstrap. `comparison` has

    - `title`, `date`, `machine`, `command`, `git_commit`, `versions` by package, `seeds`, `notes`;
    - `tables`, each with `name`, `explanation`, counts of `contexts`, `conversations` and `responses`, and
      `rows`: `system`, `kind` (see `charts.KIND_COLOURS`), number of `seeds`, `metrics` (intervals by
      name), `seed_deviation` by metric, and `against`, a list of `system` and `differences` from it by
      metric, intervals with `p_value`.

    It may have

    - `teachers`: `measures` by teacher, `kendall_tau` by "a × b", and `ratings`: `scorer` and intervals of
      `spearman`, `kendall`, `spearman_within` and `kendall_within`, as far as they are known;
    - `answers`: `system`, `distinct_1`, `distinct_2`, intervals of `words` and `generated_share`, and
      `judgements`: `teacher`, `trained_on` and intervals of `mutual_information`, `win_rate_human` and
      `win_rate_generated`;
    - `sparsity`: `context_terms`, `response_terms` and `flops` by system;
    - `learning_curves`: reports with `step`, by system and seed;
    - `filters`: counts of `kept` and of each reason, by teacher;
    - `latency`: `teachers` and `students`, `p50_ms`, `p95_ms` and `requests` by name, and a `note`;
    - `reading`: `context`, `gold` and `answers`: `system`, `text` and `source`, gold or generated.
    """
    comparison = _PARTS | comparison
    comparison["teachers"] = _TEACHER_PARTS | comparison.get("teachers", {})
    rows = [row for table in comparison["tables"] for row in table["rows"]]
    timed = (comparison["latency"] or {"students": {}})["students"]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ends": _ends, "number": _number, "p_value": _p_value, "signed": _signed}
    return environment.get_template("comparison.html.j2").render(
        comparison,
        plotly_js=Markup(get_plotlyjs()),
        best_of=_best_of,
        numbers=charts.system_numbers(comparison),
        kind_colours=_kind_colours(rows),
        timed_colours=_kind_colours([row for row in rows if row["system"] in timed] + [{"kind": "teacher"}]),
        curve_colours=charts.curve_colours(comparison),
        outcome_colours=charts.outcome_colours(comparison),
        entropy_colours={_MEASURES[name]: colour for name, colour in charts.ENTROPY_COLOURS.items()},
        answered_colours={_JUDGEMENTS[name]: colour for name, colour in charts.ANSWERED_COLOURS.items()},
        charts=_drawn(comparison),
        sheets=_sheets(comparison),
    )


def _drawn(comparison: Mapping[str, Any]) -> dict[str, Charts]:
    """The charts of each section, those of a table under `ladder 1` and so on."""
    teachers = comparison["teachers"]
    figures: dict[str, dict[str, go.Figure]] = {section: {} for section in _SECTIONS}
    for number, table in enumerate(comparison["tables"], 1):
        metrics = [metric for metric in _DRAWN_METRICS if metric in _metrics_of(table)]
        figures[f"ladder {number}"] = {metric: charts.ladder_chart(table, metric) for metric in metrics}
    if comparison["latency"] and charts.timed_points(comparison):
        figures["latency"] = {"hits@1/20": charts.latency_chart(comparison)}
    if len(comparison["sparsity"]) > 1:
        figures["sparsity"] = {"mrr": charts.sparsity_chart(comparison)}
    if comparison["learning_curves"]:
        figures["curves"] = {
            title: charts.curves_chart(comparison, measure)
            for measure, title in _CURVES.items()
            if _is_reported(comparison["learning_curves"], measure)
        }
    if teachers["measures"]:
        figures["calibration"] = {"hits@1/20": charts.hits_chart(comparison)}
        if any("entropy" in row for row in teachers["measures"].values()):
            figures["calibration"]["cross-entropy · entropy, nats"] = charts.entropies_chart(comparison)
    if teachers["kendall_tau"]:
        figures["agreement"] = {"": charts.agreement_chart(comparison)}
    figures["ratings"] = {
        _COEFFICIENTS[name]: charts.ratings_chart(comparison, name)
        for name in ("spearman", "spearman_within")
        if any(name in rating for rating in teachers["ratings"])
    }
    if comparison["filters"]:
        figures["filters"] = {"": charts.filters_chart(comparison)}
    figures["judgements"] = {
        f"Judged by {judge}": charts.judgement_chart(comparison, judge)
        for judge in _judges(comparison["answers"])
    }
    return {
        section: [
            (title, _chart(figure, f"{section}-{index}".replace(" ", "-")))
            for index, (title, figure) in enumerate(titled.items(), 1)
        ]
        for section, titled in figures.items()
    }


def _sheets(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of each section; `judgements` has a list of them, one for each judge."""
    teachers, answers = comparison["teachers"], comparison["answers"]
    latency = comparison["latency"] or {"students": {}, "teachers": {}}
    ratings = [(row["scorer"], row) for row in teachers["ratings"]]
    outcomes = {outcome: outcome for outcome in charts.outcome_colours(comparison)}
    return {
        "latency": Sheet("Latency of systems", "system", _TIMES, latency["students"].items()),
        "teacher_latency": Sheet(
            "Latency of teachers", "teacher", _TIMES, latency["teachers"].items(), names_systems=False
        ),
        "teachers": Sheet(
            "Teachers", "teacher", _MEASURES, teachers["measures"].items(), names_systems=False
        ),
        "ratings": Sheet("Correlations", "scorer", _COEFFICIENTS, ratings, names_systems=False),
        "filters": Sheet("Filters", "teacher", outcomes, comparison["filters"].items(), names_systems=False),
        "answers": Sheet("Answers", "system", _ANSWERS, [(row["system"], row) for row in answers]),
        "judgements": [
            Sheet(f"Judged by {judge}", "system", _JUDGEMENTS, charts.judged_by(comparison, judge))
            for judge in _judges(answers)
        ],
        "sparsity": Sheet("Sparsity", "system", _SPARSITY, comparison["sparsity"].items()),
    }


def _chart(figure: go.Figure, name: str) -> Markup:
    html = plotly.io.to_html(figure, config=_CONFIG, include_plotlyjs=False, full_html=False, div_id=name)
    return Markup(html)


def _metrics_of(table: Mapping[str, Any]) -> list[str]:
    """Those that some row has, in the order in which they first come."""
    return list(dict.fromkeys(metric for row in table["rows"] for metric in row["metrics"]))


def _best_of(table: Mapping[str, Any]) -> dict[str, float]:
    """The highest mean of each metric, as it is shown."""
    return {
        metric: max(
            round(row["metrics"][metric]["mean"], 3) for row in table["rows"] if metric in row["metrics"]
        )
        for metric in _metrics_of(table)
    }


def _kind_colours(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    kinds = {row["kind"] for row in rows}
    return {kind: colour for kind, colour in charts.KIND_COLOURS.items() if kind in kinds}


def _judges(answers: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(judgement["teacher"] for row in answers for judgement in row["judgements"]))


def _is_reported(curves: Mapping[str, Any], measure: str) -> bool:
    return any(measure in report for seeds in curves.values() for lines in seeds.values() for report in lines)


def _ends(interval: Mapping[str, float]) -> str:
    between = "–" if interval["low"] >= 0 else " to "
    return f"{interval['low']:.3f}{between}{interval['high']:.3f}".replace("-", "−")


def _number(value: float) -> str:
    """A count as it is, anything else with fewer decimals the larger it is."""
    decimals = 0 if isinstance(value, int) or abs(value) >= 100 else 1 if abs(value) >= 5 else 3
    return f"{value:,.{decimals}f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−") if abs(value) >= 0.0005 else "0.000"


def _p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
