"""A request's body, read with a limit on bytes and time whatever its headers claim."""

from __future__ import annotations

from anyio import fail_after
from starlette.requests import ClientDisconnect, Request

from vegrt.infer.serve.batcher import Batcher, Seat
from vegrt.infer.serve.refusal import Refusal, TooLarge
from vegrt.infer.serve.settings import Settings


async def read_body(request: Request, batcher: Batcher, seat: Seat, settings: Settings) -> bytes:
    """Return the whole body. Raises TooLarge, Overloaded for the sum of all bodies, Refusal 408, 415 or 400."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal("content-encoding: not supported; send the body as it is", 415)
    limit = settings.max_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
        raise TooLarge(f"body: {declared[:20]} bytes; at most {limit}")
    chunks: list[bytes] = []
    size = 0
    try:
        with fail_after(settings.read_timeout_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"body: more than {limit} bytes")
                batcher.hold(seat, len(chunk))
                chunks.append(chunk)
    except TimeoutError as error:
        raise Refusal(f"body: not complete after {settings.read_timeout_s:g} s", 408) from error
    except ClientDisconnect as error:
        raise Refusal("body: the connection was closed") from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
