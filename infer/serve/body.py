"""The bodies of requests, read with a limit on bytes, time and rate whatever their headers claim.

Nothing here takes a place in the queue: a body that is still on its way costs its own bytes and no other request's turn. When
all bodies together hold as much as they may, the slowest that is unfinished gives way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from anyio import CancelScope, current_time
from starlette.requests import ClientDisconnect, Request

from vegrt.infer.serve.refusal import GaveWay, Overloaded, Refusal, TooLarge, TooSlow
from vegrt.infer.serve.settings import ServerSettings

_YOUNG_S = 1.0  # the rate of a body says nothing before


@dataclass(slots=True, eq=False)
class _Body:
    """A body on its way. started: anyio's clock. size: bytes that are held for it. gave_way: whether they were taken from it."""

    started: float
    scope: CancelScope = field(default_factory=CancelScope)
    size: int = 0
    gave_way: bool = False


class Bodies:
    """All bodies that are being read, decoded or computed. Used by one event loop."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._reading: set[_Body] = set()
        self._held_bytes = 0

    @property
    def reading(self) -> int:
        """Return how many are on their way."""
        return len(self._reading)

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the whole body, and count its bytes as held until the block ends.

        Raises TooLarge, TooSlow, Overloaded for the sum of all bodies, Refusal 415 or 400.
        """
        _check_head(request, self._settings.max_bytes)
        body = _Body(current_time())
        try:
            yield await self._whole(request, body)
        finally:
            self._held_bytes -= body.size

    async def _whole(self, request: Request, body: _Body) -> bytes:
        chunks: list[bytes] = []
        self._reading.add(body)
        try:
            with body.scope:
                body.scope.deadline = self._deadline(body)
                async for chunk in request.stream():
                    self._hold(body, len(chunk))
                    chunks.append(chunk)
                    body.scope.deadline = self._deadline(body)
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        except ClientDisconnect as error:
            raise Refusal("body: the connection was closed") from error
        finally:
            self._reading.discard(body)
        raise self._cancelled(body)

    def _deadline(self, body: _Body) -> float:
        """Return until when, on anyio's clock, the next bytes must be there."""
        settings = self._settings
        at_rate = settings.header_timeout_s + body.size / settings.min_rate
        return body.started + min(settings.body_timeout_s, at_rate)

    def _hold(self, body: _Body, count: int) -> None:
        if body.gave_way:
            raise self._cancelled(body)
        if body.size + count > self._settings.max_bytes:
            raise TooLarge(f"body: more than {self._settings.max_bytes} bytes")
        while self._held_bytes + count > self._settings.max_held_bytes:
            self._make_room(body)
        body.size += count
        self._held_bytes += count

    def _make_room(self, wanting: _Body) -> None:
        now = current_time()
        others = [body for body in self._reading if body is not wanting and body.size and now - body.started > _YOUNG_S]
        if not others:
            raise Overloaded("too many large bodies at once; try again soon")
        slowest = min(others, key=lambda body: body.size / (now - body.started))
        self._held_bytes -= slowest.size
        slowest.size, slowest.gave_way = 0, True
        slowest.scope.cancel()
        self._reading.discard(slowest)

    def _cancelled(self, body: _Body) -> Refusal:
        if body.gave_way:
            return GaveWay("body: too slow while others wait for its memory; try again soon")
        settings, seconds = self._settings, current_time() - body.started
        if seconds >= settings.body_timeout_s:
            return TooSlow(f"body: not complete after {settings.body_timeout_s:g} s")
        return TooSlow(f"body: {body.size} bytes in {seconds:.1f} s; at least {settings.min_rate} bytes/s are expected")


def _check_head(request: Request, max_bytes: int) -> None:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal("content-encoding: not supported; send the body as it is", 415)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and (len(declared) > 18 or int(declared) > max_bytes):
        raise TooLarge(f"body: {declared[:20]} bytes; at most {max_bytes}")
