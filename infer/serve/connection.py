"""One connection: uvicorn's HTTP/1.1 protocol, extended by the time that it has been waiting for its client.

uvicorn has a timeout for idle connections only, and each byte of a header cancels it. This class reports whether a connection
is overdue; `listening` checks all connections and closes the overdue ones.
"""

from __future__ import annotations

import json
from asyncio import BaseTransport, Transport
from enum import IntEnum

from uvicorn.protocols.http.h11_impl import H11Protocol

from vegrt.infer.serve.settings import ServerSettings


class Stage(IntEnum):
    """The state of a connection: it waits for a request's first byte, the rest of its header or body, or the answer."""

    IDLE = 0
    HEADER = 1
    BODY = 2
    ANSWER = 3


class Connection(H11Protocol):
    """A connection that records since when it has been waiting. Times are in seconds, by the event loop's clock."""

    since = 0.0
    _idle = False
    _unsent_bytes = 0
    _unsent_since = 0.0

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

    def data_received(self, data: bytes) -> None:
        """Receive bytes; the first ones after an answer start a header."""
        if self._idle:
            self._idle, self.since = False, self.loop.time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Start waiting for the next request."""
        self._idle, self.since = True, self.loop.time()
        super().on_response_complete()

    def is_overdue(self, now: float, settings: ServerSettings) -> bool:
        """Return whether the client exceeded a time limit. Call it repeatedly: it records how much the client has received."""
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent_bytes:
            self._unsent_bytes, self._unsent_since = unsent, now
        elif now - self._unsent_since > settings.idle_timeout_s:
            return True
        if self.stage is Stage.HEADER:
            return now - self.since > settings.header_timeout_s
        return self.stage is Stage.IDLE and now - self.since > settings.idle_timeout_s

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP with an error in JSON, and close."""
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            self.transport.write(plain_refusal("400 Bad Request", msg))
        self.transport.close()


def plain_refusal(status: str, reason: str) -> bytes:
    """Return a complete HTTP error response after which the connection is closed."""
    content = json.dumps({"error": reason}).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close\r\n"
    return head.encode() + b"\r\n" + content
