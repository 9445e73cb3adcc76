"""HTTP responses with a deadline: one photo takes a bounded time, however slowly a server sends.

Python's own client has a timeout per read only, which a slow server renews with every byte.
"""

from __future__ import annotations

import http.client
import io
import ssl
import time
import urllib.request
from functools import cache
from typing import Any

TIMEOUT_S = 30.0  # for a connection, and for each read
HEAD_START_S = 30.0  # for one photo of any size, redirects and retries included
MIN_RATE = 16_384  # bytes per second after that


class Deadline:
    """The time by which a photo must have arrived. It starts when made, and every received byte extends it."""

    def __init__(self) -> None:
        self._start, self._received = time.monotonic(), 0

    def __str__(self) -> str:
        """Return how much was received in which time."""
        return f"{self._received} bytes in {time.monotonic() - self._start:.0f} s"

    @property
    def left_s(self) -> float:
        """Return the remaining seconds; negative after the deadline."""
        return self._start + HEAD_START_S + self._received / MIN_RATE - time.monotonic()

    @property
    def is_over(self) -> bool:
        """Return whether it has passed."""
        return self.left_s <= 0

    def add(self, count: int) -> None:
        """Count so many more received bytes."""
        self._received += count


def opener(deadline: Deadline) -> urllib.request.OpenerDirector:
    """Return an opener for http and https URLs whose responses, headers included, must be read by `deadline`."""
    return urllib.request.build_opener(_Http(deadline), _Https(deadline))


class _Timed:
    """The shared part of both handlers: responses are read through `_Reader`."""

    def __init__(self, deadline: Deadline, **words: Any) -> None:
        super().__init__(**words)
        self._deadline = deadline

    def do_open(self, http_class: Any, req: Any, **http_conn_args: Any) -> Any:
        deadline = self._deadline

        def response(sock: Any, *details: Any, **more: Any) -> http.client.HTTPResponse:
            result = http.client.HTTPResponse(sock, *details, **more)
            result.fp = io.BufferedReader(_Reader(sock, result.fp, deadline))
            return result

        def connect(*place: Any, **more: Any) -> Any:
            connection = http_class(*place, **more)
            connection.response_class = response
            return connection

        return super().do_open(connect, req, **http_conn_args)  # type: ignore[misc]  # of the handler beside it


class _Http(_Timed, urllib.request.HTTPHandler):
    pass


class _Https(_Timed, urllib.request.HTTPSHandler):
    def __init__(self, deadline: Deadline) -> None:
        super().__init__(deadline, context=_context())


class _Reader(io.RawIOBase):
    """A socket's file whose reads end by the deadline."""

    def __init__(self, sock: Any, file: Any, deadline: Deadline) -> None:
        self._sock, self._file, self._deadline = sock, file, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._deadline.left_s
        if left_s <= 0:
            raise TimeoutError("too slow")
        self._sock.settimeout(min(TIMEOUT_S, left_s))
        count: int = self._file.raw.readinto(buffer)
        self._deadline.add(count)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


@cache
def _context() -> ssl.SSLContext:
    """Return the TLS context, loaded once: reading the system's certificates takes longer than a photo."""
    return ssl.create_default_context()
