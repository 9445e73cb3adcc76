"""Reads request bodies within limits on size, time and rate, and decodes the photo in them.

A body that is still arriving takes no place in the queue. When all bodies together reach the memory limit, the slowest
unfinished one is dropped. `load_image` decodes the photo, so the formats are those of `vegrt infer`.
"""

from __future__ import annotations

from asyncio import sleep
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from anyio import CancelScope, current_time
from numpy.typing import NDArray
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from vegrt.errors import DataError, TooManyPixelsError
from vegrt.infer.serve.clients import Shares
from vegrt.infer.serve.refusal import Dropped, NotAPhoto, Overloaded, Refusal, ShareTaken, TooLarge, TooSlow
from vegrt.infer.serve.settings import ServerSettings
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image

FIELD = "file"
_MOST_PARTS = 16  # in a form; a form with more is refused
_SLICE_BYTES = 1 << 16  # of a form, parsed before other requests get their turn
YOUNG_S = 1.0  # age in s below which the rate of a body is not checked


@dataclass(slots=True, eq=False)
class _Body:
    """A body that is arriving. started: by anyio's clock. size: bytes in memory. dropped: to free memory for another body."""

    client: str
    started: float
    scope: CancelScope = field(default_factory=CancelScope)
    size: int = 0
    dropped: bool = False


class Bodies:
    """All bodies that are being read, decoded or computed. Used by one event loop."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._reading: set[_Body] = set()
        self._held_bytes = 0
        self._shares = Shares(max(settings.max_bytes, settings.share_of(settings.max_held_bytes)))

    @property
    def reading(self) -> int:
        """Return how many bodies are arriving."""
        return len(self._reading)

    @property
    def held_bytes(self) -> int:
        """Return how many bytes are held, of bodies that arrive or are being answered."""
        return self._held_bytes

    @asynccontextmanager
    async def read(self, request: Request, client: str = "") -> AsyncIterator[bytes]:
        """Yield the whole body, and count its bytes as held until the block ends.

        Raises TooLarge, TooSlow, Overloaded if all bodies together are too large, ShareTaken if those of this client are, and
        Refusal 400 or 415.
        """
        _check_head(request, self._settings.max_bytes)
        body = _Body(client, current_time())
        try:
            yield await self._whole(request, body)
        finally:
            self._release(body)

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
        """Return the time, on anyio's clock, by which the next bytes must arrive."""
        settings = self._settings
        at_rate = settings.header_timeout_s + body.size / settings.min_rate
        return body.started + min(settings.body_timeout_s, at_rate)

    def _hold(self, body: _Body, count: int) -> None:
        if body.dropped:
            raise self._cancelled(body)
        if body.size + count > self._settings.max_bytes:
            raise TooLarge(f"body: more than {self._settings.max_bytes} bytes")
        if not self._shares.has_room(body.client, count):
            raise ShareTaken(f"the bodies of this client have more than {self._shares.limit} bytes; try again soon")
        while self._held_bytes + count > self._settings.max_held_bytes:
            self._free_memory(body)
        body.size += count
        self._held_bytes += count
        self._shares.take(body.client, count)

    def _release(self, body: _Body) -> None:
        self._held_bytes -= body.size
        self._shares.give_back(body.client, body.size)
        body.size = 0

    def _free_memory(self, requester: _Body) -> None:
        now = current_time()
        candidates = [
            body for body in self._reading if body is not requester and body.size and now - body.started > YOUNG_S
        ]
        if not candidates:
            raise Overloaded("too many large bodies at the same time; try again soon")
        slowest = min(candidates, key=lambda body: body.size / (now - body.started))
        self._release(slowest)
        slowest.dropped = True
        slowest.scope.cancel()
        self._reading.discard(slowest)

    def _cancelled(self, body: _Body) -> Refusal:
        if body.dropped:
            return Dropped("body: too slow while other requests need the memory; try again soon")
        settings, seconds = self._settings, current_time() - body.started
        if seconds >= settings.body_timeout_s:
            return TooSlow(f"body: not complete after {settings.body_timeout_s:g} s")
        return TooSlow(f"body: {body.size} bytes in {seconds:.1f} s; expected at least {settings.min_rate} bytes/s")


def _check_head(request: Request, max_bytes: int) -> None:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal("content-encoding: not supported; send the body uncompressed", 415)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and (len(declared) > 18 or int(declared) > max_bytes):
        raise TooLarge(f"body: {declared[:20]} bytes; expected at most {max_bytes}")


def photo_pixels(photo: bytes, contract: Contract, max_pixels: int) -> NDArray[np.uint8]:
    """Return an encoded photo as (1, H, W, 3) uint8 RGB, decoded by the contract.

    Raises TooLarge for too many pixels, NotAPhoto for bytes that cannot be decoded.
    """
    if not photo:
        raise NotAPhoto("image: the body is empty; expected the bytes of a photo")
    try:
        return load_image(photo, contract, max_pixels=max_pixels)[None]
    except TooManyPixelsError as error:
        raise TooLarge(" ".join(str(error).split())) from error
    except DataError as error:
        raise NotAPhoto(" ".join(str(error).split())) from error


async def photo_bytes(body: bytes, content_type: str) -> bytes:
    """Return the encoded photo in a body: the body itself, or the only file of a multipart form. Raises Refusal 400."""
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data":
        return body
    parser = _FormParser(body, options.get(b"boundary", b"").decode("latin-1"))
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError) as error:
        if parser.is_read:
            raise Refusal("multipart form: the closing boundary is missing") from error
        raise Refusal(f"multipart form: malformed ({str(error)[:120]})") from error
    try:
        return await _only_file(form, parser)
    finally:
        await form.close()


async def _only_file(form: FormData, parser: _FormParser) -> bytes:
    """Return the bytes of a form's only part. Raises Refusal for an incomplete form, or other parts."""
    parts = form.multi_items()
    if not parser.is_complete:
        raise Refusal("multipart form: the closing boundary is missing")
    if [name for name, _ in parts] != [FIELD]:
        names = ", ".join(repr(_utf8(name)[:40]) for name, _ in parts[:4])
        raise Refusal(f"multipart form: {len(parts)} fields ({names}); expected one, {FIELD!r}, with a photo")
    value = parts[0][1]
    return value.encode("latin-1") if isinstance(value, str) else await value.read()


def _utf8(name: str) -> str:
    return name.encode("latin-1").decode("utf-8", "backslashreplace")


class _FormParser(MultiPartParser):
    """Starlette's parser for a body in memory, within the service's own limits.

    is_read: whether all bytes were parsed. is_complete: whether the closing boundary was found.
    """

    spool_max_size = max_file_size = 1 << 62  # no temporary files: the size of the body is already limited

    def __init__(self, body: bytes, boundary: str) -> None:
        # Latin-1 maps every byte to one character, so that a part without a file name keeps its bytes.
        headers = Headers({"content-type": f'multipart/form-data; boundary="{boundary}"; charset=latin-1'})
        limits = {"max_files": _MOST_PARTS, "max_fields": _MOST_PARTS}
        super().__init__(headers, self._slices(body), **limits, max_part_size=len(body))
        self.is_read = self.is_complete = False

    def on_end(self) -> None:
        """Record the closing boundary."""
        self.is_complete = True

    async def _slices(self, body: bytes) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), _SLICE_BYTES):
            yield body[start : start + _SLICE_BYTES]
            await sleep(0)
        self.is_read = True
