"""The report of a sweep: one page with parallel coordinates and a table, and the same figures as JSON."""

from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from jobs.chart_parts import TEXT
from jobs.run_directory import RunDirectory, circumstances
from jobs.sweep_config import SweepConfig
from jobs.trials import in_words

_AXIS_PX = 130


def write_report(run: RunDirectory, sweep: SweepConfig, trials: list[dict[str, Any]]) -> None:
    """Writes `report/sweep.json` and `report/sweep.html` of the trials, best first."""
    run.write_json(
        {"sweep": sweep.model_dump(mode="json"), "trials": trials, **circumstances()}, "report", "sweep.json"
    )
    run.write_text(sweep_page(sweep, trials), "report", "sweep.html")


def sweep_page(sweep: SweepConfig, trials: list[dict[str, Any]]) -> str:
    """The page."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    scored = [trial for trial in trials if trial["score"] is not None]
    return environment.get_template("sweep.html.j2").render(
        sweep=sweep,
        trials=trials,
        keys=list(sweep.parameters),
        best=in_words(scored[0]["changes"]) if scored else None,
        chart=Markup(_coordinates(sweep, scored)) if len(scored) > 1 else None,
        plotly_js=Markup(get_plotlyjs()),
        circumstances=circumstances(),
    )


def _coordinates(sweep: SweepConfig, trials: list[dict[str, Any]]) -> str:
    """A line for each trial through its settings to its score."""
    scores = [trial["score"] for trial in trials]
    axes = [_axis(key, [trial["changes"][key] for trial in trials], sweep) for key in sweep.parameters]
    axes.append({"label": sweep.metric.name.removeprefix("train/"), "values": scores, "tickformat": ".3f"})
    figure = go.Figure(
        go.Parcoords(
            dimensions=axes,
            line={"color": scores, "colorscale": "Viridis", "reversescale": True},
            labelfont={"color": TEXT},
            tickfont={"color": TEXT},
        )
    )
    figure.update_layout(
        height=420,
        width=max(360, _AXIS_PX * len(axes)),
        margin={"l": 70, "r": 40, "t": 50, "b": 20},
        paper_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12},
    )
    return str(figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False}))


def _axis(key: str, values: list[Any], sweep: SweepConfig) -> dict[str, Any]:
    """An axis with a place for each listed value, or one of numbers."""
    label = key.rpartition(".")[2].replace("_", " ")
    parameter = sweep.parameters[key]
    if parameter.min is not None:
        return {"label": label, "values": values, "tickformat": ".1e" if parameter.distribution else None}
    places = parameter.values or [parameter.value]
    return {
        "label": label,
        "values": [places.index(value) for value in values],
        "tickvals": list(range(len(places))),
        "ticktext": [str(place) for place in places],
        "range": [-0.2, len(places) - 0.8],
    }
