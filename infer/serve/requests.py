"""HTTP/1.1 requests as h11 reads them, without those that two servers may read differently.

A proxy in front may see another end of such a request, and take its rest for the next one (request smuggling, RFC 9112 11.2).
"""

from __future__ import annotations

from typing import Any

import h11

MAX_HEADER_BYTES = 65_536  # h11 limits only a header that arrives in parts


class StrictRequests(h11.Connection):
    """The requests of one connection. status, reason: the answer to a request that is refused."""

    status = 400
    reason = ""

    def next_event(self) -> Any:
        """Return the next event. Raises RemoteProtocolError for what is not HTTP/1, or of ambiguous length."""
        try:
            event = super().next_event()
            return _checked(event) if isinstance(event, h11.Request) else event
        except h11.RemoteProtocolError as error:
            self.status, self.reason = error.error_status_hint, f"not a request of HTTP/1.1: {str(error)[:120]}"
            raise


def _checked(request: h11.Request) -> h11.Request:
    """Return a request as the application expects it: its target is a path, and Host is the name that was asked for."""
    names = {name for name, _ in request.headers}
    size = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
    if size > MAX_HEADER_BYTES:
        raise h11.RemoteProtocolError(f"a header of more than {MAX_HEADER_BYTES} bytes", 431)
    if not request.http_version.startswith(b"1."):
        raise h11.RemoteProtocolError("another version", 505)
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version < b"1.1"):
        raise h11.RemoteProtocolError("Transfer-Encoding together with Content-Length, or in HTTP/1.0")
    scheme, _, rest = request.target.partition(b"://")
    if scheme.lower() not in (b"http", b"https"):
        return request
    # the absolute form, whose host replaces that of the header (RFC 9112 section 3.2.2)
    host, slash, path = rest.partition(b"/")
    headers = [(b"host", host), *((name, value) for name, value in request.headers if name != b"host")]
    return h11.Request(
        method=request.method, target=slash + path or b"/", headers=headers, http_version=request.http_version
    )
