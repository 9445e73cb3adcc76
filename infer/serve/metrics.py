"""Prometheus metrics at /metrics, and the ASGI layer that counts requests."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from vegrt.infer.drift.record import KINDS, CountersFile

if TYPE_CHECKING:
    from vegrt.infer.drift.counters import Counters

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
CLOSED = ("header", "idle", "unread_answer", "limit", "refused", "not_http")  # why the service closes connections


class Metrics:
    """The metrics of one service, in their own registry."""

    def __init__(
        self,
        *,
        inside: Callable[[], float],
        waiting: Callable[[], float],
        reading: Callable[[], float],
        counters: Counters | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("vegrt_requests", "Requests answered.", ("endpoint", "code"), registry=self.registry)
        self.seconds = Histogram(
            "vegrt_request_seconds",
            "Time from the first byte of a request to the last byte of its answer.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch = Histogram(
            "vegrt_batch_images", "Images per batch of the runner.", buckets=_SIZES, registry=self.registry
        )
        self.closed = Counter(
            "vegrt_connections_closed",
            "Connections that the service closed, by reason.",
            ("reason",),
            registry=self.registry,
        )
        for reason in CLOSED:  # so that each is there from the start, as 0
            self.closed.labels(reason)
        self.images = Counter("vegrt_images", "Images processed by the runner.", registry=self.registry)
        for name, text, value in (
            ("vegrt_inside_images", "Images admitted and not yet answered.", inside),
            ("vegrt_reading_bodies", "Request bodies that are still arriving.", reading),
            ("vegrt_queue_images", "Images that wait for the runner.", waiting),
        ):
            Gauge(name, text, registry=self.registry).set_function(value)
        if counters is not None:
            self.registry.register(_AnswerMetrics(counters))

    def watch_connections(self, connections: Callable[[], float]) -> None:
        """Show the number of open connections."""
        Gauge("vegrt_connections", "Open connections.", registry=self.registry).set_function(connections)

    def count_batch(self, size: int) -> None:
        """Count a batch of `size` images."""
        self.batch.observe(size)
        self.images.inc(size)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)


class _AnswerMetrics:
    """The metrics of what was answered, since the counters file began, and of what the looks at it found."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Yield them; the registry calls it for every request of /metrics."""
        state = self._counters.state()
        yield _counter(
            "vegrt_answers", "Photos by answered class.", "label", zip(state.classes, state.total.classes, strict=True)
        )
        yield _counter("vegrt_decisions", "Photos by decision.", "decision", _decisions(state).items())
        confidence, scores = state.total.confidence, state.total.scores
        text = "Calibrated probability of answers."
        yield _histogram("vegrt_calibrated_probability", text, state.edges.confidence, confidence)
        yield _histogram("vegrt_foreign_score", "Foreign score; above 0 is foreign.", state.edges.scores, scores)
        alarms = zip(KINDS, (state.photos_alarms, state.classes_alarms), strict=True)
        moved = GaugeMetricFamily("vegrt_drift", "1 if a change has been found, see docs/drift.md.", labels=("of",))
        for kind, found in alarms:
            moved.add_metric((kind,), float(found.latest is not None))
        yield moved


def _decisions(state: CountersFile) -> dict[str, int]:
    foreign, total = sum(state.total.scores[state.edges.foreign :]), state.total
    return {"accept": total.photos - foreign - total.unsure, "unsure": total.unsure, "foreign": foreign}


def _counter(name: str, text: str, label: str, values: Iterable[tuple[str, int]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in values:
        family.add_metric((value,), count)
    return family


def _histogram(name: str, text: str, edges: Sequence[float], counts: Sequence[int]) -> Metric:
    """Return counts in bins as Prometheus has them: photos at or below each edge. Their sum is not known."""
    sums = list(accumulate(counts))
    names = [*map(repr, edges), "+Inf"]
    family = HistogramMetricFamily(name, text)
    family.add_metric((), list(zip(names, map(float, sums), strict=True)), sum_value=None)
    return family


class RequestCounter:
    """ASGI middleware that counts and times HTTP requests.

    endpoints: path -> label; all other paths count as `other`, so that clients cannot create labels.
    """

    def __init__(self, app: App, metrics: Metrics, endpoints: dict[str, str]) -> None:
        self._app, self._metrics, self._endpoints = app, metrics, endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status, started = 500, time.perf_counter()

        async def send_counted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            endpoint = self._endpoints.get(scope["path"], "other")
            self._metrics.requests.labels(endpoint, str(status)).inc()
            self._metrics.seconds.labels(endpoint).observe(time.perf_counter() - started)
