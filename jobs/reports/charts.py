"""Charts of report pages, which templates/charts.html.j2 draws as SVG: rows of intervals or bars, and planes.

Horizontal places are in percent of the chart's width and vertical ones in px, so that a chart reads alike on
phone and desk.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, floor, log10

from student.evaluation.statistics import Interval

_MAX_TICKS = 8
_LABEL_PX = 15


@dataclass(frozen=True)
class Scale:
    """A range of values, on which they have places from 0 to 100."""

    low: float
    high: float
    is_log: bool = False

    @classmethod
    def over(cls, values: Iterable[float], is_log: bool = False, space: float = 0.05) -> "Scale":
        """Return the range of the values, with a share of it more at both ends."""
        shown = list(values) or [1.0]
        low, high = min(shown), max(shown)
        if is_log:
            room = (high / low) ** space if high > low else 2.0
            return cls(low / room, high * room, is_log=True)
        room = space * (high - low) or 0.05
        return cls(low - room, high + room)

    def place(self, value: float) -> float:
        """Percent of the way from `low` to `high`."""
        ends_and_value = (self.low, self.high, value)
        low, high, here = map(log10, ends_and_value) if self.is_log else ends_and_value
        return round(100 * (here - low) / (high - low), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places of round values, and their texts."""
        values = _powers(self.low, self.high) if self.is_log else []
        if len(values) < 2:
            values = _round_values(self.low, self.high)
        return [(self.place(value), f"{value:g}".replace("-", "−")) for value in values]


def _powers(low: float, high: float) -> list[float]:
    exponents = range(ceil(log10(low)), floor(log10(high)) + 1)
    return [10.0**exponent for exponent in exponents]


def _round_values(low: float, high: float) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten, a few of them."""
    power = 10.0 ** floor(log10((high - low) / _MAX_TICKS))
    step = next(step for factor in (1, 2, 5, 10) if (high - low) / (step := factor * power) <= _MAX_TICKS)
    return [round(number * step, 10) for number in range(ceil(low / step), floor(high / step) + 1)]


@dataclass(frozen=True)
class Mark:
    """A value in a row: a dot with a line to its interval's ends, or a bar from `start` to its mean."""

    interval: Interval
    colour: str
    title: str
    text: str = ""
    """Above the row."""
    start: float | None = None


@dataclass(frozen=True)
class Rows:
    """A row of marks for each name, below each other or, stacked, in one line."""

    rows: Sequence[tuple[str, Sequence[Mark]]]
    scale: Scale
    reference: float | None = None
    """Where a dotted line is."""
    unit: str = ""
    is_stacked: bool = False


@dataclass(frozen=True)
class Dot:
    """A point of a plane, with an upright line to the ends of its interval."""

    x: float
    interval: Interval
    colour: str
    title: str
    label: str = ""
    x_high: float | None = None
    """Where a line to the right ends."""
    radius: float = 4.5
    is_open: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a plane; those of a group are hidden together."""

    points: Sequence[tuple[float, float]]
    colour: str
    title: str
    group: int
    is_thin: bool = False


@dataclass(frozen=True)
class Plane:
    """Dots and lines over a horizontal axis."""

    x: Scale
    y: Scale
    x_title: str = ""
    dots: Sequence[Dot] = ()
    lines: Sequence[Line] = ()
    height: int = 340
    categories: Sequence[str] = ()
    """Texts of x = 0, 1, … instead of numbers."""

    def top(self, value: float) -> float:
        """px from the upper edge."""
        return round(self.height * (1 - self.y.place(value) / 100), 1)

    def points(self, line: Line) -> str:
        """The line's points, as SVG takes them."""
        return " ".join(f"{self.x.place(x)},{self.top(y)}" for x, y in line.points)

    def label_shifts(self) -> list[float]:
        """How many px each dot's label has to go down for none to cover another."""
        heights = [self.top(dot.interval.mean) for dot in self.dots]
        shifted = list(heights)
        downwards = sorted(range(len(heights)), key=heights.__getitem__)
        pairs = [pair for pair in combinations(downwards, 2) if self._labels_meet(*pair)]

        for _ in range(50):  # pushes them apart until they rest
            for upper, lower in pairs:
                overlap = _LABEL_PX - (shifted[lower] - shifted[upper])
                if overlap > 0:
                    shifted[upper] -= overlap / 2
                    shifted[lower] += overlap / 2

        return [round(place - height, 1) for place, height in zip(shifted, heights, strict=True)]

    def _labels_meet(self, first: int, second: int) -> bool:
        """Whether two labels are so near each other that they meet at one height."""
        length = max(len(self.dots[first].label), len(self.dots[second].label))
        places = [self.x.place(self.dots[number].x) for number in (first, second)]
        return abs(places[0] - places[1]) < 5 + 2 * length
