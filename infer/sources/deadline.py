"""HTTP answers that end: whatever a server sends, and however slowly, one photo takes a bounded time.

Python's own client has a timeout for each read only, which a byte now and then renews for ever.
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
HEAD_START_S = 30.0  # for one photo with its redirects and further attempts, whatever its size
MIN_RATE = 16_384  # bytes per second beyond


class Deadline:
    """When a photo must be there: later by what has been received. Counts from when it is made."""

    def __init__(self) -> None:
        self._start, self._received = time.monotonic(), 0

    def __str__(self) -> str:
        """Return what came, and in how long."""
        return f"{self._received} bytes in {time.monotonic() - self._start:.0f} s"

    @property
    def left_s(self) -> float:
        """Return the seconds that are left; negative when it is over."""
        return self._start + HEAD_START_S + self._received / MIN_RATE - time.monotonic()

    @property
    def is_over(self) -> bool:
        """Return whether it has passed."""
        return self.left_s <= 0

    def add(self, count: int) -> None:
        """Note that so many bytes more were received."""
        self._received += count


def opener(deadline: Deadline) -> urllib.request.OpenerDirector:
    """Return what opens http and https URLs; everything that is read from its answers, headers included, ends by `deadline`."""
    return urllib.request.build_opener(_Http(deadline), _Https(deadline))


class _Timed:
    """The part of both handlers: connections whose answers are read through `_Reader`."""

    def __init__(self, deadline: Deadline, **words: Any) -> None:
        super().__init__(**words)
        self._deadline = deadline

    def do_open(self, http_class: Any, req: Any, **http_conn_args: Any) -> Any:
        deadline = self._deadline

        def response(sock: Any, *details: Any, **more: Any) -> http.client.HTTPResponse:
            made = http.client.HTTPResponse(sock, *details, **more)
            made.fp = io.BufferedReader(_Reader(sock, made.fp, deadline))
            return made

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
    """Return what https is checked with, loaded once: the system's certificates take longer than a photo."""
    return ssl.create_default_context()
