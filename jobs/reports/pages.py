"""Report pages: one HTML file each, which loads nothing else."""

from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from student.evaluation.statistics import Interval

_TEMPLATES = Path(__file__).parent / "templates"
_CHART_CONFIG = {"responsive": True, "displayModeBar": False}


def environment(*folders: Path) -> Environment:
    """Templates of the reports and of `folders`, which escape what they show and fail on unknown names."""
    templates = Environment(
        loader=FileSystemLoader([*folders, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"bounds": _bounds, "minus": _minus, "p_value": _p_value, "signed": _signed}
    return templates


def chart_html(figure: go.Figure, name: str) -> Markup:
    """A chart for a page that has `plotly_js`; `name` is the element's id."""
    html = plotly.io.to_html(
        figure, config=_CHART_CONFIG, include_plotlyjs=False, full_html=False, div_id=name
    )
    return Markup(html)


def plotly_js() -> Markup:
    """Plotly's source."""
    return Markup(get_plotlyjs())


def _bounds(interval: Interval) -> str:
    separator = "–" if interval.low >= 0 else " to "
    return _minus(f"{interval.low:.3f}{separator}{interval.high:.3f}")


def _signed(value: float) -> str:
    return _minus(f"{value:+.3f}") if abs(value) >= 0.0005 else "0.000"


def _minus(text: Any) -> str:
    """Hyphens of numbers as minus signs."""
    return str(text).replace("-", "−")


def _p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
