"""Progress of long stages: plain lines, which read the same in a terminal and in a job's log, and gauges."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs.execution.telemetry import ProgressGauges

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 30.0


class Tally:
    """Work that is counted while it passes through this process."""

    def __init__(self) -> None:
        self._done = self._total = 0

    def __call__(self, done: int, total: int) -> None:
        self._done, self._total = done, total

    def done(self) -> int:
        return self._done

    def total(self) -> int:
        return self._total


@contextmanager
def progress(
    label: str,
    total: Callable[[], int],
    unit: str,
    done: Callable[[], int],
    news: Callable[[], str | None] = lambda: None,
    note: Callable[[], str] = str,
) -> Iterator[None]:
    """Prints done/total, rate and time left while the body runs.

    `done` is asked every few seconds, later twice a minute, and reads what is on disk, so that it counts an
    earlier attempt's rows too; `news` gives a line to show once, or None; `note` ends the progress line.
    """
    finished = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(label, total, unit, done, news, note, finished), daemon=True, name="progress"
    )
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _watch(
    label: str,
    total: Callable[[], int],
    unit: str,
    done: Callable[[], int],
    news: Callable[[], str | None],
    note: Callable[[], str],
    finished: threading.Event,
) -> None:
    pace, shown, pause = _Pace(done()), -1, _FIRST_PAUSE_S
    gauges = ProgressGauges(label, unit)
    while True:
        ended = finished.wait(pause)
        pause = min(1.3 * pause, _LONGEST_PAUSE_S)
        count = done()
        gauges.show(count, total())
        if (line := news()) is not None:
            print(f"  {line}", flush=True)
        if total() and (count != shown or ended):
            rate = pace.of_all(count) if ended else pace.since_first_rows(count)
            speed = f", {rate:.1f} {unit}/s" if rate else ""
            left = f", {_minutes((total() - count) / rate)} left" if rate and count < total() else ""
            more = f" · {note()}" if note() else ""
            print(f"  {label}: {count}/{total()} {unit}{speed}{left}{more}", flush=True)
            shown = count
        if ended:
            return


class _Pace:
    """Rows per second, 0 where it is not known yet."""

    def __init__(self, count: int) -> None:
        self._began, self._earlier = time.monotonic(), count
        self._first: tuple[float, int] | None = None

    def of_all(self, count: int) -> float:
        """Since the beginning, start-up included."""
        return max(0, count - self._earlier) / (time.monotonic() - self._began)

    def since_first_rows(self, count: int) -> float:
        """Since the first rows were seen: engines take a minute to start, which foretells nothing."""
        if count <= self._earlier:
            return 0.0
        if self._first is None or count < self._first[1]:  # fewer than before: another count has begun
            self._first = (time.monotonic(), count)
        since, first = self._first
        return (count - first) / (time.monotonic() - since) if count > first else 0.0


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
