"""One connection: uvicorn's HTTP/1.1 protocol, extended by the time that it has been waiting for its client.

uvicorn has a timeout for idle connections only, and each byte of a header cancels it. This class reports whether and why a
connection is overdue; `listening` checks all connections and closes the overdue ones.
"""

from __future__ import annotations

import json
from asyncio import BaseTransport, Transport
from enum import IntEnum
from http import HTTPStatus
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vegrt.infer.serve.clients import client_of
from vegrt.infer.serve.metrics import Metrics
from vegrt.infer.serve.requests import StrictRequests
from vegrt.infer.serve.settings import ServerSettings

Overdue = Literal["header", "idle", "unread_answer"]


class Stage(IntEnum):
    """The state of a connection: it waits for a request's first byte, the rest of its header or body, or the answer."""

    IDLE = 0
    HEADER = 1
    BODY = 2
    ANSWER = 3


class Connection(H11Protocol):
    """A connection that records since when it has been waiting. Times are in seconds, by the event loop's clock."""

    since = 0.0
    owner = ""  # the client, once there is a connection
    _idle = False
    _unsent_bytes = 0
    _unsent_since = 0.0

    def __init__(self, *arguments: Any, metrics: Metrics) -> None:
        super().__init__(*arguments)
        self.conn = self.requests = StrictRequests(h11.SERVER)
        self._metrics = metrics

    @property
    def stage(self) -> Stage:
        """Return the current state."""
        if self.cycle is None or self.cycle.response_complete:
            return Stage.IDLE if self._idle else Stage.HEADER
        return Stage.BODY if self.cycle.more_body else Stage.ANSWER

    def connection_made(self, transport: BaseTransport) -> None:
        """Start waiting for a header."""
        assert isinstance(transport, Transport)
        self.since = self.loop.time()
        super().connection_made(transport)
        self.owner = client_of(self.client[0]) if self.client else ""

    def data_received(self, data: bytes) -> None:
        """Receive bytes; the first ones after an answer start a header."""
        if self._idle:
            self._idle, self.since = False, self.loop.time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Start waiting for the next request."""
        self._idle, self.since = True, self.loop.time()
        super().on_response_complete()

    def overdue(self, now: float, settings: ServerSettings) -> Overdue | None:
        """Return which time limit the client exceeded. Call it repeatedly: it records how much the client has received."""
        if self._reads_slowly(now, settings):
            return "unread_answer"
        if self.stage is Stage.HEADER and now - self.since > settings.header_timeout_s:
            return "header"
        return "idle" if self.stage is Stage.IDLE and now - self.since > settings.idle_timeout_s else None

    def _reads_slowly(self, now: float, settings: ServerSettings) -> bool:
        """Return whether the client took no byte of its answer for too long. The system's own buffer hides a few MB."""
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent_bytes:
            self._unsent_bytes, self._unsent_since = unsent, now
        return now - self._unsent_since > settings.idle_timeout_s

    def close_overdue(self, reason: Overdue) -> None:
        """Close the connection; a client that has sent a part of a header is told why."""
        self._metrics.closed.labels(reason).inc()
        if reason == "header" and self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self.transport.write(plain_refusal(408, "header: not complete in time"))
            self.transport.close()
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP/1.1 with an error in JSON, and close."""
        self._metrics.closed.labels("not_http").inc()
        cycle = self.cycle
        # a second answer to a request that was answered before its body had arrived would be taken for that of the next
        if cycle is None or not cycle.response_started or (cycle.response_complete and not cycle.more_body):
            self.transport.write(plain_refusal(self.requests.status, self.requests.reason or msg))
        self.transport.close()


def plain_refusal(status: int, reason: str) -> bytes:
    """Return a complete HTTP error response after which the connection is closed."""
    content = json.dumps({"error": reason}).encode()
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *(["Retry-After: 1"] if status in (429, 503) else []),
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + content
