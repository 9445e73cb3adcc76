"""The limits of a service: sizes, waiting times and memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from vegrt.errors import VegrtError


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The limits of batching and of requests.

    max_batch: largest batch, in images. max_delay_ms: longest wait for a batch to fill.
    queue: most images in the service, from a complete body to its answer; more are refused with 503.
    max_bytes: largest request body. max_pixels: largest photo, checked before it is decoded.
    max_connections: most simultaneous connections; fewer if the limit of open files is lower. At the limit, the connection that
    has waited longest is closed.
    header_timeout_s: longest time for a request's header to arrive. idle_timeout_s: longest time until the next request of a
    connection, and during which a client receives no byte of its answer. body_timeout_s: longest time for a whole body to
    arrive. min_rate: lowest average bytes per second of a body, after the first header_timeout_s seconds.
    answer_timeout_s: longest time for the runner to answer once a body has arrived.
    client_share: largest share, above 0 to 1, of the queue, the connections and the memory for bodies that one client may hold; a
    client is an IPv4 address or a /64 network of IPv6.
    allowed_hosts: host names, besides those of this machine, under which browsers may use the service.
    """

    max_batch: int = 16
    max_delay_ms: float = 5.0
    queue: int = 128
    max_bytes: int = 16 * 2**20
    max_pixels: int = 34_000_000
    max_connections: int = 800
    header_timeout_s: float = 10.0
    idle_timeout_s: float = 30.0
    body_timeout_s: float = 30.0
    min_rate: int = 4096
    answer_timeout_s: float = 60.0
    client_share: float = 1.0
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.max_delay_ms >= 0 and isfinite(self.max_delay_ms)):
            raise VegrtError(f"max_delay_ms: {self.max_delay_ms}; expected 0 or more")
        for name in ("max_batch", "queue", "max_bytes", "max_pixels", "max_connections", "min_rate"):
            if getattr(self, name) < 1:
                raise VegrtError(f"{name}: {getattr(self, name)}; expected 1 or more")
        for name in ("header_timeout_s", "idle_timeout_s", "body_timeout_s", "answer_timeout_s"):
            if not (getattr(self, name) > 0 and isfinite(getattr(self, name))):
                raise VegrtError(f"{name}: {getattr(self, name)}; expected more than 0 seconds")

        if not 0 < self.client_share <= 1:
            raise VegrtError(f"client_share: {self.client_share}; expected more than 0 and at most 1")

    def share_of(self, total: int) -> int:
        """Return how much of a resource one client may hold; at least 1."""
        return max(1, int(total * self.client_share))

    @property
    def max_held_bytes(self) -> int:
        """Return the limit on the bytes of all bodies together: a queue full of the largest bodies would take GiB."""
        return max(256 * 2**20, 4 * self.max_bytes)
