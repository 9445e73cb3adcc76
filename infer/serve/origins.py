"""Allows only the service's own web page to use it from a browser, under a name of this machine.

A browser sends the page's Origin with every POST. A page of another origin is refused, and so is a page whose Origin equals Host
if that is a foreign name, because its owner may have pointed the name to this machine (DNS rebinding). Other programs send no
Origin and are not checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from vegrt.infer.serve.metrics import App, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Hosts:
    """The host names of this service.

    own: the host that it listens on. allowed: from --allowed-host, also valid if a proxy rewrites Host.
    any_address: whether every IP address is a name, as for a service that listens on all of them; addresses cannot be rebound.
    """

    own: frozenset[str]
    allowed: frozenset[str]
    any_address: bool

    @classmethod
    def of(cls, host: str, allowed: Iterable[str]) -> Hosts:
        """Return the names of a service that listens on `host`; allowed: additional names."""
        names = frozenset(name.lower() for name in allowed)
        return cls(frozenset({host.lower()}), names, any_address=not is_local(host))

    def refusal(self, origin: str, host: str) -> str:
        """Return why a browser's request is refused; empty if it is allowed. origin, host: the headers."""
        scheme, _, netloc = origin.partition("://")
        name = _name(netloc) if scheme in ("http", "https") else ""
        cure = f"; if you trust it, allow it with: vegrt serve --allowed-host {name[:80]}" if name else ""
        if not self._has(name):
            return f"origin {origin[:80]!r}: not a page of this service{cure}"
        if netloc.lower() == host.lower():
            return ""
        return (
            ""
            if name in self.allowed
            else f"origin {origin[:80]!r}: a page of a service other than {host[:80]!r}{cure}"
        )

    def _has(self, name: str) -> bool:
        if not name:
            return False
        if name in self.own or name in self.allowed or name == "localhost" or name.endswith(".localhost"):
            return True
        address = _address(name)
        return address is not None and (self.any_address or address.is_loopback)


def is_local(host: str) -> bool:
    """Return whether a service that listens on `host` can be reached from its own machine only."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


class OriginGuard:
    """ASGI middleware that refuses browser requests from pages of other origins."""

    def __init__(self, app: App, hosts: Hosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        headers = scope["headers"] if scope["type"] == "http" else ()
        # a repeated header is joined, as HTTP defines it: two origins are none of this service
        origin, host = (
            b", ".join(value for name, value in headers if name == wanted).decode("latin-1")
            for wanted in (b"origin", b"host")
        )
        reason = self._hosts.refusal(origin, host) if origin else ""
        if not reason:
            return await self._app(scope, receive, send)
        content = json.dumps({"error": reason}).encode()
        kinds = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": kinds})
        await send({"type": "http.response.body", "body": content})


def _name(netloc: str) -> str:
    """Return the name in `name:port`, in lower case, without the brackets of IPv6; empty if invalid."""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None
