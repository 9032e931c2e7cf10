"""A replica's metrics for Prometheus; Ray exports them with its own from every node."""

from dataclasses import asdict

from ray.serve import metrics

from serve.responder import Timings

_MILLISECONDS = [0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 250, 500, 1000]


class ReplicaMetrics:
    """Requests by route and outcome, milliseconds by part, and the version that is served."""

    def __init__(self) -> None:
        self._requests = metrics.Counter(
            "rejoinder_requests", "Requests answered.", tag_keys=("route", "outcome")
        )
        self._passed_over = metrics.Counter(
            "rejoinder_messages_without_text", "Messages passed over: of tools, or without text."
        )
        self._parts = metrics.Histogram(
            "rejoinder_part_ms", "Milliseconds of an answer's parts.", _MILLISECONDS, tag_keys=("part",)
        )
        self._version = metrics.Gauge(
            "rejoinder_index_responses", "Responses of the version that is served.", tag_keys=("version",)
        )
        self._served: str | None = None

    def answered(self, route: str, outcome: str, timings: Timings | None = None) -> None:
        """Count one request.

        Its outcome is `answered`, `no answer`, `fallback`, `fallback failed` or `generator failed`.
        """
        self._requests.inc(tags={"route": route, "outcome": outcome})
        if timings is not None:
            for part, milliseconds in asdict(timings).items():
                self._parts.observe(milliseconds, tags={"part": part})

    def passed_over(self, num_messages: int) -> None:
        """Count messages of a request that have no text to read."""
        if num_messages:
            self._passed_over.inc(num_messages)

    def serves(self, version: str, num_responses: int) -> None:
        """Record the version served from now on."""
        if self._served not in (None, version):
            self._version.set(0, tags={"version": self._served})
        self._version.set(num_responses, tags={"version": version})
        self._served = version
