"""How a share of a network is written."""

from __future__ import annotations


def percent(share: float) -> str:
    """Return a share as a percentage that is 100.0% for the whole alone."""
    return f"{share if share == 1 else min(share, 0.999):.1%}"
