"""Progress of long stages as plain lines, which read the same in a terminal and in a job's log."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_INTERVAL_S = 5.0


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
) -> Iterator[None]:
    """Prints done/total, rate and time left while the body runs.

    `done` is asked every few seconds and reads what is on disk, so that it counts an earlier attempt's
    rows too; `news` gives a line to show once, or None.
    """
    finished = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(label, total, unit, done, news, finished), daemon=True, name="progress"
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
    finished: threading.Event,
) -> None:
    start = time.monotonic()
    earlier = done()
    shown, first_row_at = -1, None
    while True:
        ended = finished.wait(_INTERVAL_S)
        now, count = time.monotonic(), done()
        if (line := news()) is not None:
            print(f"  {line}", flush=True)
        if count > earlier and first_row_at is None:
            first_row_at = max(start, now - _INTERVAL_S)
        if total() and (count != shown or ended):
            rate = (count - earlier) / (now - (first_row_at or start))
            left = f", {_minutes((total() - count) / rate)} left" if rate > 0 and count < total() else ""
            print(f"  {label}: {count}/{total()} {unit}, {rate:.1f} {unit}/s{left}", flush=True)
            shown = count
        if ended:
            return


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
