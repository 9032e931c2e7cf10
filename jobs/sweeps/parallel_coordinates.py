"""Parallel coordinates of a sweep: a line for each trial, through its settings to its score.

They are drawn from plain lines, because plotly's own need WebGL, which many browsers refuse.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from jobs.reports.chart_elements import MUTED, TEXT, axis, layout, plain
from jobs.sweeps.config import Parameter, SweepConfig

BEST_COLOUR = "#d55e00"
_WORST_TO_BEST = [[0, "#a9bccd"], [1, "#0b4f8a"]]
_PLOT_PX, _TITLE_PX, _TITLE_LENGTH = 360, 15, 16
_AXIS_PX = (114, 240)  # from one axis to the next: the least and the most
_LEFT, _RIGHT = 0.72, 0.4  # of such a distance, before the first axis and after the last
_TICK_LENGTH = 13  # characters that fit between two axes
_NEAREST_TICKS = 0.085  # of an axis
_MOST_PLACES = 10  # whole numbers that get a place each
_FAN = 0.6  # of a place, over which its lines spread
_FAN_STEP = 0.02  # of an axis, between two of them


@dataclass(frozen=True)
class _Axis:
    """An upright axis, from 0 at its foot to 1."""

    title: str
    heights: list[float]
    """Of each trial's line."""
    ticks: list[tuple[float, str]]


def parallel_coordinates(sweep: SweepConfig, trials: Sequence[dict[str, Any]]) -> go.Figure | None:
    """A line for each of the trials, which come best first and have scores; None with nothing to compare.

    A parameter that is the same in all trials has no axis.
    """
    axes = [
        _setting_axis(key, parameter, [trial["changes"][key] for trial in trials])
        for key, parameter in sweep.parameters.items()
        if parameter.min is not None or len(parameter.values or []) > 1
    ]
    if not axes or len(trials) < 2:
        return None
    scores = [trial["score"] for trial in trials]
    axes.append(_number_axis(sweep.metric.name.removeprefix("train/"), scores, min(scores), max(scores)))
    figure = go.Figure()
    colours = _colours(scores)
    for number in reversed(range(len(trials))):  # the best last, above the others
        heights = [upright.heights[number] for upright in axes]
        figure.add_trace(_line(trials[number], sweep, heights, colours[number], is_best=number == 0))
    titles = [_title(upright.title) for upright in axes]
    top_px = 12 + _TITLE_PX * max(title.count("<br>") + 1 for title in titles)
    figure.update_layout(
        layout(_PLOT_PX + top_px),
        margin={"l": 0, "r": 0, "t": top_px, "b": 8},
        annotations=_tick_labels(axes),
    )
    figure.update_layout(hoverlabel={"align": "left"})
    figure.update_xaxes(
        axis(),
        range=[-_LEFT, len(axes) - 1 + _RIGHT],
        tickvals=list(range(len(axes))),
        ticktext=titles,
        tickangle=0,
        side="top",
        gridcolor=MUTED,
        tickfont={"color": TEXT, "size": 12},
    )
    figure.update_yaxes(axis(), range=[-0.03, 1.03], showgrid=False, showticklabels=False)
    return figure


def least_and_most_px(figure: go.Figure) -> tuple[int, int]:
    """How wide the chart has to be to be read, and how wide it is of use."""
    left, right = figure.layout.xaxis.range
    least, most = _AXIS_PX
    return round((right - left) * least), round((right - left) * most)


def shown(value: Any) -> str:
    """A setting in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _setting_axis(title: str, parameter: Parameter, values: list[Any]) -> _Axis:
    if parameter.min is None or parameter.max is None:
        return _places_axis(title, values, parameter.values or [])
    if parameter.is_whole and parameter.max - parameter.min < _MOST_PLACES:
        return _places_axis(title, values, list(range(int(parameter.min), int(parameter.max) + 1)))
    is_logarithmic = parameter.distribution == "log_uniform_values"
    return _number_axis(title, values, parameter.min, parameter.max, is_logarithmic)


def _places_axis(title: str, values: list[Any], places: list[Any]) -> _Axis:
    """Places at equal distances. The lines of one place lie side by side, the best of them uppermost."""
    middles = [(number + 0.5) / len(places) for number in range(len(places))]
    heights = [0.0] * len(values)
    for place, middle in zip(places, middles, strict=True):
        there = [number for number, value in enumerate(values) if value == place]
        step = min(_FAN / len(places) / max(1, len(there) - 1), _FAN_STEP)
        for rank, number in enumerate(there):
            heights[number] = middle + step * ((len(there) - 1) / 2 - rank)
    texts = [shown(place) for place in places]
    texts = [text if len(text) <= _TICK_LENGTH else text[: _TICK_LENGTH - 1] + "…" for text in texts]
    return _Axis(title, heights, list(zip(middles, texts, strict=True)))


def _number_axis(
    title: str, values: list[float], low: float, high: float, is_logarithmic: bool = False
) -> _Axis:
    def height(value: float) -> float:
        if low == high:
            return 0.5
        if is_logarithmic:
            return (log10(value) - log10(low)) / (log10(high) - log10(low))
        return (value - low) / (high - low)

    kept: list[float] = []
    for value in [low, high, *(_round_logarithms(low, high) if is_logarithmic else _round(low, high))]:
        if low <= value <= high and all(abs(height(value) - height(tick)) >= _NEAREST_TICKS for tick in kept):
            kept.append(value)
    texts = [f"{value:.3g}" for value in kept] if is_logarithmic else _alike(kept, high - low)
    ticks = list(zip(map(height, kept), texts, strict=True))
    return _Axis(title, [height(value) for value in values], ticks)


def _alike(values: list[float], length: float) -> list[str]:
    """Numbers with as few decimals as place all of them within a fiftieth of the axis."""
    for decimals in range(6):
        if all(abs(round(value, decimals) - value) <= length / 50 for value in values):
            return [f"{value:.{decimals}f}" for value in values]
    return [f"{value:.3g}" for value in values]


def _round(low: float, high: float) -> list[float]:
    """About five round numbers from `low` to `high`."""
    if low == high:
        return []
    unit = 10 ** floor(log10((high - low) / 2))
    step = unit * next(times for times in (0.5, 1, 2, 5) if (high - low) / (unit * times) <= 6)
    return [number * step for number in range(ceil(low / step), floor(high / step) + 1)]


def _round_logarithms(low: float, high: float) -> list[float]:
    """Powers of ten around `low` and `high`, then five times these, then twice."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    return [times * 10.0**power for times in (1, 5, 2) for power in powers]


def _colours(scores: list[float]) -> list[str]:
    """Of each score, best first: the darker the better."""
    best, worst = scores[0], scores[-1]
    shares = [1.0 if best == worst else (score - worst) / (best - worst) for score in scores]
    return [BEST_COLOUR, *sample_colorscale(_WORST_TO_BEST, shares[1:])]


def _line(
    trial: dict[str, Any], sweep: SweepConfig, heights: list[float], colour: str, *, is_best: bool
) -> go.Scatter:
    said = [f"<b>{trial['score']:.4f}</b> {plain(sweep.metric.name.removeprefix('train/'))}"]
    said += [f"{plain(key)} {plain(shown(value))}" for key, value in trial["changes"].items()]
    if trial["stopped"]:
        said.append(f"stopped early, after validation {trial['validations']}")
    dash = "dot" if trial["stopped"] else "solid"
    return go.Scatter(
        x=list(range(len(heights))),
        y=heights,
        name=trial["trial"],
        mode="lines+markers",
        line={"color": colour, "width": 3.5 if is_best else 1.6, "dash": dash},
        marker={"color": colour, "size": 8 if is_best else 5},
        hovertext="<br>".join(said),
        hoverinfo="text",
    )


def _title(key: str) -> str:
    """A dotted key on lines of few characters."""
    room, _, name = key.rpartition(".")
    if len(key) <= _TITLE_LENGTH or not room:
        return _lines(key)
    return f"{_lines(f'{room}.')}<br>{_lines(name)}"


def _lines(text: str) -> str:
    lines = [""]
    for part in re.findall(rf"[^._]{{1,{_TITLE_LENGTH - 1}}}[._]*", text):
        if len(lines[-1] + part) > _TITLE_LENGTH:
            lines.append("")
        lines[-1] += part
    return "<br>".join(map(plain, lines))


def _tick_labels(axes: Sequence[_Axis]) -> list[dict[str, Any]]:
    """The ticks' texts, each to the left of its axis on a veil, so that lines behind it do not hide it."""
    look = {"showarrow": False, "xanchor": "right", "yanchor": "middle", "xshift": -6, "borderpad": 1}
    look |= {"bgcolor": "rgba(255,255,255,0.8)", "font": {"color": TEXT, "size": 11}}
    return [
        {**look, "x": number, "y": height, "text": plain(text)}
        for number, upright in enumerate(axes)
        for height, text in upright.ticks
    ]
