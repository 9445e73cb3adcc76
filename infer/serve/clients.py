"""Identifies clients by their address, and limits what one of them may hold of a resource.

A client is an IPv4 address, or a /64 network of IPv6, because one machine chooses freely among the addresses of its network.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address, ip_address


def client_of(address: str) -> str:
    """Return the client behind an IP address, without a zone; text that is no address is itself a client."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"


class Shares:
    """What each client holds of a resource. limit: the most that one client may hold, in units of the resource."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: Counter[str] = Counter()

    def has_room(self, client: str, count: int) -> bool:
        """Return whether a client may take `count` more."""
        return self.held(client) + count <= self.limit

    def take(self, client: str, count: int) -> None:
        """Record that a client holds `count` more."""
        self._held[client] += count

    def give_back(self, client: str, count: int) -> None:
        """Record that a client holds `count` less; a client that holds nothing is forgotten."""
        self._held[client] -= count
        if not self._held[client]:
            del self._held[client]

    def held(self, client: str) -> int:
        """Return how much a client holds."""
        return self._held.get(client, 0)
