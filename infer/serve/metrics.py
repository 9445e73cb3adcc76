"""Prometheus metrics at /metrics, and the ASGI layer that counts requests."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one service, in their own registry."""

    def __init__(
        self, *, inside: Callable[[], float], waiting: Callable[[], float], reading: Callable[[], float]
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
        self.images = Counter("vegrt_images", "Images processed by the runner.", registry=self.registry)
        for name, text, value in (
            ("vegrt_inside_images", "Images admitted and not yet answered.", inside),
            ("vegrt_reading_bodies", "Request bodies that are still arriving.", reading),
            ("vegrt_queue_images", "Images that wait for the runner.", waiting),
        ):
            Gauge(name, text, registry=self.registry).set_function(value)

    def count_batch(self, size: int) -> None:
        """Count a batch of `size` images."""
        self.batch.observe(size)
        self.images.inc(size)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)


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
