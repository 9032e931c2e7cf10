"""Dots, bars, lines and axes, of which jobs/reports/charts.py makes its charts."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations
from math import log10
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from student.evaluation.statistics import Interval

TEXT, MUTED, GRID = "#1f2933", "#5b6672", "#e3e7eb"
MARGIN_PX = {"l": 14, "r": 14, "t": 2, "b": 30}
_FONT = "system-ui, sans-serif"
_LINE_PX = 16
_BAR_PX = 26  # of a row, beneath the lines of its name
_ROW_LENGTH = 48  # characters that fit above a row on a phone: a name and a value
_LEADER_PX = 20
_LABEL_PX, _LABEL_DECADES = 15, 0.33  # apart, where labels cannot meet


@dataclass(frozen=True)
class TimedPoint:
    """A system or a teacher in the plane of time and quality."""

    name: str
    label: str
    p50_ms: float
    p95_ms: float
    interval: Interval
    colour: str


def plain(text: str) -> str:
    """`text` as plotly shows it without taking any of it for a tag; it knows no entities of quotes."""
    return escape(text, quote=False)


def wrapped(text: str, length: int) -> str:
    """`text` on as many lines as it needs."""
    return "<br>".join(map(plain, wrap(text, length)))


def range_of(intervals: Sequence[Interval]) -> list[float]:
    """From below the lowest to above the highest of the intervals."""
    low = min((interval.low for interval in intervals), default=0.0)
    high = max((interval.high for interval in intervals), default=1.0)
    space = 0.05 * (high - low) or 0.05
    return [low - space, high + space]


def layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": MARGIN_PX,
        "showlegend": False,
        "dragmode": False,  # a finger on a chart scrolls the page
        "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 12, "color": TEXT},
        "hoverlabel": {"bgcolor": "white", "bordercolor": MUTED, "font": {"family": _FONT, "color": TEXT}},
        "template": go.layout.Template(),
    }


def axis(title: str = "") -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 8, "font": {"color": MUTED}},
        "tickfont": {"color": MUTED, "size": 11},
        "gridcolor": GRID,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "fixedrange": True,
    }


def hover(template: str) -> str:
    """The trace's name and, beneath it, a template of plotly."""
    return f"%{{fullData.name}}<br>{template}<extra></extra>"


def rows_figure(texts: Mapping[str, str], spread: Sequence[float]) -> tuple[go.Figure, list[float]]:
    """A figure of empty rows, with a name and a text above each, and where to draw in each row.

    The horizontal axis goes from the first to the last of `spread`, the vertical one counts px downwards.
    """
    longest = max((len(re.sub("<[^>]*>", "", text)) for text in texts.values()), default=0)
    above = {"xref": "paper", "yanchor": "top", "showarrow": False, "bgcolor": "white", "borderpad": 0}
    annotations = []
    ends = [0]

    for name, text in texts.items():
        lines = wrapped(name, _ROW_LENGTH - longest)
        top = {**above, "y": ends[-1] + 3}
        annotations += [
            {**top, "text": lines, "x": 0, "xanchor": "left", "align": "left"},
            {**top, "text": text, "x": 1, "xanchor": "right", "font": {"color": MUTED}},
        ]
        ends.append(ends[-1] + _LINE_PX * (lines.count("<br>") + 1) + _BAR_PX)

    figure = go.Figure()
    figure.update_layout(layout(ends[-1] + MARGIN_PX["t"] + MARGIN_PX["b"]), annotations=annotations)
    figure.update_xaxes(axis(), range=[spread[0], spread[-1]], nticks=7)
    figure.update_yaxes(axis(), range=[ends[-1], 0], tickvals=ends[1:-1], showticklabels=False)
    return figure, [end - _BAR_PX / 2 + 1 for end in ends[1:]]


def plane_figure(traces: Sequence[go.Scatter], height: int, title: str) -> go.Figure:
    """A figure of traces over a horizontal axis with a title."""
    figure = go.Figure(traces)
    figure.update_layout(layout(height), margin=MARGIN_PX | {"l": 8, "b": 46})
    figure.update_xaxes(axis(title))
    figure.update_yaxes(axis(), automargin=True)
    return figure


def dot(name: str, interval: Interval, y: float, colour: str, size: int = 10) -> go.Scatter:
    """The mean of an interval, with bars to its ends."""
    trace = _marker(name, interval.mean, y, colour, size)
    return trace.update(
        error_x=_ends(interval, colour),
        customdata=[[interval.low, interval.high]],
        hovertemplate=hover("%{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})"),
    )


def upright_dot(name: str, x: float, interval: Interval, colour: str, label: str) -> go.Scatter:
    """The mean of an interval at `x`, with upright bars to its ends and a label beside it."""
    trace = _marker(name, x, interval.mean, colour, 9)
    return trace.update(
        error_y=_ends(interval, colour),
        mode="markers+text",
        text=[label],
        textposition="middle right",
        hovertemplate=hover("%{y:.3f} with %{x:.0f} terms"),
    )


def timed_dot(point: TimedPoint) -> go.Scatter:
    """The mean at the median time, with bars to the interval's ends and to the 95th percentile."""
    tail_ms = {"array": [point.p95_ms - point.p50_ms], "arrayminus": [0]}
    trace = _marker(point.name, point.p50_ms, point.interval.mean, point.colour, 9)
    return trace.update(
        error_x={**tail_ms, "color": point.colour, "thickness": 1, "width": 0},
        error_y=_ends(point.interval, point.colour),
        customdata=[[point.p95_ms]],
        hovertemplate=hover("%{y:.3f} at %{x:.3~r} ms, 95 % within %{customdata[0]:.3~r} ms"),
    )


def _marker(name: str, x: float, y: float, colour: str, size: int) -> go.Scatter:
    marker = {"color": colour, "size": size}
    return go.Scatter(x=[x], y=[y], name=wrapped(name, 40), mode="markers", marker=marker)


def _ends(interval: Interval, colour: str) -> dict[str, Any]:
    return {
        "array": [interval.high - interval.mean],
        "arrayminus": [interval.mean - interval.low],
        "color": colour,
        "thickness": 1.6,
        "width": 3,
    }


def line(by_step: Mapping[int, float], colour: str, width: float, opacity: float) -> go.Scatter:
    pen = {"color": colour, "width": width}
    return go.Scatter(x=list(by_step), y=list(by_step.values()), mode="lines", line=pen, opacity=opacity)


def bars(
    names: Iterable[str], lengths: Sequence[float], ys: Sequence[float], colour: str, template: str
) -> go.Bar:
    return go.Bar(
        x=lengths,
        y=ys,
        width=12,
        orientation="h",
        marker={"color": colour, "line": {"width": 0}},
        hovertext=list(map(plain, names)),
        hovertemplate=f"%{{hovertext}}<br>{template}<extra></extra>",
    )


def reference(position: float) -> dict[str, Any]:
    """A dotted vertical line, for `figure.add_shape`."""
    return {
        "type": "line",
        "x0": position,
        "x1": position,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "layer": "below",
        "line": {"color": MUTED, "width": 1, "dash": "dot"},
    }


def leader(point: TimedPoint, shift_px: float) -> dict[str, Any]:
    """A label to the left of a point on a logarithmic axis, with a line to the point."""
    return {
        "text": point.label,
        "x": log10(point.p50_ms),
        "y": point.interval.mean,
        "ax": -_LEADER_PX,
        "ay": shift_px,
        "xanchor": "right",
        "arrowhead": 0,
        "arrowwidth": 0.8,
        "arrowcolor": MUTED,
        "standoff": 6,
        "borderpad": 0,
    }


def label_px(point: TimedPoint) -> int:
    """About how far the label and the line to it reach left of the point."""
    return _LEADER_PX + 10 + 7 * max(map(len, point.label.split("<br>")))


def label_shifts(points: Sequence[TimedPoint], px_per_unit: float) -> list[float]:
    """How many px the label beside each point has to go down for none to cover another."""
    heights_px = [-point.interval.mean * px_per_unit for point in points]
    placed_px = list(heights_px)
    downwards = sorted(range(len(points)), key=heights_px.__getitem__)
    pairs = []
    for upper, lower in combinations(downwards, 2):
        if abs(log10(points[upper].p50_ms / points[lower].p50_ms)) < _LABEL_DECADES:
            pairs.append((upper, lower))

    for _ in range(50):  # pushes them apart until they rest
        for upper, lower in pairs:
            overlap_px = _LABEL_PX - (placed_px[lower] - placed_px[upper])
            if overlap_px > 0:
                placed_px[upper] -= overlap_px / 2
                placed_px[lower] += overlap_px / 2

    return [placed - height for placed, height in zip(placed_px, heights_px, strict=True)]
