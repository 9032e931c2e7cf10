"""Small multiples of a sweep: for each parameter, the score of every trial against its setting."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from jobs.reports.chart_elements import MARGIN_PX, axis, layout, plain
from jobs.sweeps.config import Parameter, SweepConfig

BEST_COLOUR = "#d55e00"
_COLOUR = "#1d6fb8"
_HEIGHT_PX = 220
_MAX_TICK_LENGTH = 13
_MAX_WHOLE_TICKS = 6


def score_charts(sweep: SweepConfig, trials: Sequence[dict[str, Any]]) -> dict[str, go.Figure]:
    """A chart for each parameter that varies, by name; none with fewer than two trials.

    The trials come best first and have scores.
    """
    if len(trials) < 2:
        return {}

    figures = {}
    for key, parameter in sweep.parameters.items():
        if parameter.min is not None or len(parameter.values or []) > 1:
            figures[key] = _score_chart(key, parameter, sweep, trials)
    return figures


def setting_text(value: Any) -> str:
    """A setting in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _score_chart(
    key: str, parameter: Parameter, sweep: SweepConfig, trials: Sequence[dict[str, Any]]
) -> go.Figure:
    settings = [trial["changes"][key] for trial in trials]
    horizontal = axis()
    if parameter.values:
        # Equal distances, in the order of the config.
        settings = [parameter.values.index(setting) for setting in settings]
        ticks = [setting_text(value) for value in parameter.values]
        horizontal |= {
            "tickvals": list(range(len(ticks))),
            "ticktext": [plain(_shortened(tick)) for tick in ticks],
            "range": [-0.5, len(ticks) - 0.5],
        }
    elif parameter.distribution == "log_uniform_values":
        horizontal |= {"type": "log", "dtick": 1, "exponentformat": "power"}
    elif parameter.is_whole and max(settings) - min(settings) <= _MAX_WHOLE_TICKS:
        horizontal |= {"dtick": 1}

    points = list(zip(settings, trials, strict=True))
    figure = go.Figure()
    figure.add_trace(_dots(sweep, points[1:], _COLOUR, size=7))
    figure.add_trace(_dots(sweep, points[:1], BEST_COLOUR, size=12))

    figure.update_layout(
        layout(_HEIGHT_PX), margin=MARGIN_PX | {"l": 8, "t": 6}, hoverlabel={"align": "left"}
    )
    figure.update_xaxes(horizontal, automargin=True)
    figure.update_yaxes(axis(), automargin=True, nticks=5)
    return figure


def _dots(
    sweep: SweepConfig, points: Sequence[tuple[Any, dict[str, Any]]], colour: str, size: int
) -> go.Scatter:
    """A dot for each (setting, trial); open ones were stopped early."""
    settings, scores, symbols, texts = [], [], [], []
    for setting, trial in points:
        settings.append(setting)
        scores.append(trial["score"])
        symbols.append("circle-open" if trial["stopped"] else "circle")
        texts.append(_hover_text(sweep, trial))

    marker = {"color": colour, "size": size, "symbol": symbols}
    return go.Scatter(x=settings, y=scores, mode="markers", marker=marker, hovertext=texts, hoverinfo="text")


def _hover_text(sweep: SweepConfig, trial: dict[str, Any]) -> str:
    lines = [f"<b>{trial['score']:.4f}</b> {plain(sweep.metric.name.removeprefix('train/'))}"]
    for key, value in trial["changes"].items():
        lines.append(f"{plain(key)} {plain(setting_text(value))}")
    if trial["stopped"]:
        lines.append(f"stopped early, after validation {trial['validations']}")
    return "<br>".join(lines)


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_TICK_LENGTH else text[: _MAX_TICK_LENGTH - 1] + "…"
