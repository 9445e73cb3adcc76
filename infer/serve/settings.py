"""The limits of a service: what it takes, how long it waits, how much it holds."""

from __future__ import annotations

from dataclasses import dataclass

from vegrt.errors import VegrtError


@dataclass(frozen=True, slots=True)
class Settings:
    """How a service batches and what it refuses.

    max_batch: images that the runner gets at once. max_delay_ms: how long an image waits for others that are on their way.
    queue: images that may be inside at once, from the first byte of a request to its answer; more are refused with 503.
    max_bytes: of one request's body. max_pixels: of one photo, before it is decoded.
    read_timeout_s: for a whole body to arrive. answer_timeout_s: for the runner's answer once it has.
    """

    max_batch: int = 16
    max_delay_ms: float = 5.0
    queue: int = 128
    max_bytes: int = 16 * 2**20
    max_pixels: int = 50_000_000
    read_timeout_s: float = 30.0
    answer_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if not self.max_delay_ms >= 0:
            raise VegrtError(f"max_delay_ms: {self.max_delay_ms}; expected 0 or more")
        for name in ("max_batch", "queue", "max_bytes", "max_pixels"):
            if getattr(self, name) < 1:
                raise VegrtError(f"{name}: {getattr(self, name)}; expected 1 or more")

    @property
    def max_held_bytes(self) -> int:
        """Return how many bytes all bodies being read or decoded may have together: a queue of largest bodies would be GiB."""
        return max(256 * 2**20, 4 * self.max_bytes)
