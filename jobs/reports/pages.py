"""Report pages: one HTML file each, which loads nothing else."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from student.evaluation.statistics import Interval

_TEMPLATES = Path(__file__).parent / "templates"


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
