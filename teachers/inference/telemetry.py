"""What a teacher's process counts, for Prometheus: Ray exports it with its own metrics from every node."""

from ray.util.metrics import Counter

from teachers.inference.store import Row


class TeacherMetrics:
    """Of one teacher at one task."""

    def __init__(self, teacher: str, task: str) -> None:
        self._rows = _counter("rows", "Rows made, and those rejected with an error.", "outcome")
        self._tokens = _counter("tokens", "Response tokens scored.")
        self._retries = _counter(
            "retries", "Batches, and parts of them, that ended badly and were tried in halves."
        )
        starts = _counter("starts", "Processes started; more than there are replicas are restarts.")
        for counter in (self._rows, self._tokens, self._retries, starts):
            counter.set_default_tags({"teacher": teacher, "task": task})
        starts.inc()

    def made(self, rows: list[Row]) -> None:
        """Rows that go to the store."""
        num_rejected = sum(row["error"] is not None for row in rows)
        for outcome, count in (("made", len(rows) - num_rejected), ("rejected", num_rejected)):
            if count:
                self._rows.inc(count, tags={"outcome": outcome})
        if tokens := sum(row.get("tokens") or 0 for row in rows):
            self._tokens.inc(tokens)

    def tries_again(self) -> None:
        """A batch, or a part, in halves."""
        self._retries.inc()


def _counter(name: str, description: str, *more_tags: str) -> Counter:
    return Counter(f"rejoinder_teacher_{name}", description, tag_keys=("teacher", "task", *more_tags))
