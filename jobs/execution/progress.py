"""Progress of long stages: lines, which read the same in a terminal and in a log, and Prometheus' gauges."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ray.util.metrics import Counter, Gauge

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 30.0


@dataclass
class Tally:
    """Work that is counted while it passes through this process."""

    done: int = 0
    total: int = 0

    def __call__(self, done: int, total: int) -> None:
        self.done, self.total = done, total


@dataclass
class Progress:
    """Logs done/total, rate and time left, by a thread, while the body of `with` runs."""

    label: str
    total: Callable[[], int]
    unit: str
    done: Callable[[], int]
    """Is called every few seconds, later twice a minute, and reads what is on disk, so that it counts an
    earlier attempt's rows too."""
    event: Callable[[], str | None] = lambda: None
    """Returns a line to log once, or None."""
    note: Callable[[], str] = str
    """Ends the progress line."""

    def __enter__(self) -> None:
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="progress")
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._finished.set()
        self._thread.join()

    def _run(self) -> None:
        """Look every few seconds, ever less often, until the work has ended."""
        pace, shown, pause = _Pace(self.done()), -1, _FIRST_PAUSE_S
        gauges = _Gauges(self.label, self.unit)

        ended = False
        while not ended:
            ended = self._finished.wait(pause)
            pause = min(1.3 * pause, _LONGEST_PAUSE_S)
            count = self.done()
            gauges.show(count, self.total())

            if (line := self.event()) is not None:
                logger.info("  %s", line)
            if self.total() and (count != shown or ended):
                rate = pace.of_all(count) if ended else pace.since_first_rows(count)
                logger.info("  %s", self._line(count, rate))
                shown = count

    def _line(self, count: int, rate: float) -> str:
        total = self.total()
        speed = f", {rate:.1f} {self.unit}/s" if rate else ""
        remaining = f", {_minutes((total - count) / rate)} left" if rate and count < total else ""
        note = f" · {self.note()}" if self.note() else ""
        return f"{self.label}: {count}/{total} {self.unit}{speed}{remaining}{note}"


def embedding(work: Callable[[Tally], Result]) -> Result:
    """Return the result of a work that embeds texts, with progress over them."""
    tally = Tally()
    with Progress("texts embedded", lambda: tally.total, "texts", lambda: tally.done):
        return work(tally)


class _Pace:
    """Rows per second; 0 until there is something to measure."""

    def __init__(self, count: int) -> None:
        self._began, self._earlier = time.monotonic(), count
        self._first: tuple[float, int] | None = None

    def of_all(self, count: int) -> float:
        """Since the beginning, start-up included."""
        return max(0, count - self._earlier) / (time.monotonic() - self._began)

    def since_first_rows(self, count: int) -> float:
        """Since the first rows were seen: engines take a minute to start, which predicts nothing."""
        if count <= self._earlier:
            return 0.0
        if self._first is None or count < self._first[1]:  # fewer than before: another count has begun
            self._first = (time.monotonic(), count)
        since, first = self._first
        return (count - first) / (time.monotonic() - since) if count > first else 0.0


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class _Gauges:
    """Work done and work in all, of one stage or one teacher's part of it."""

    def __init__(self, work: str, unit: str) -> None:
        self._done = Gauge("rejoinder_progress_done", "Work done.", ("work", "unit"))
        self._total = Gauge("rejoinder_progress_total", "Work done and to do.", ("work", "unit"))
        for gauge in (self._done, self._total):
            gauge.set_default_tags({"work": work, "unit": unit})

    def show(self, done: int, total: int) -> None:
        """From now on."""
        self._done.set(done)
        self._total.set(total)


def count_store_hits(teacher: str, task: str, rows: int) -> None:
    """Rows that were wanted and that the store had."""
    hits = Counter("rejoinder_store_hits", "Rows that the store had.", ("teacher", "task"))
    if rows:
        hits.inc(rows, {"teacher": teacher, "task": task})
