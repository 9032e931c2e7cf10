"""What the job's own process shows to Prometheus: Ray exports it with its own metrics."""

from ray.util.metrics import Counter, Gauge


class ProgressGauges:
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
