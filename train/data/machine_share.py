"""The share of this machine that belongs to one process of the training: torchrun starts several on one machine."""

from __future__ import annotations

import os

from vegrt.machine import available_cores, available_memory_bytes

_UNKNOWN_MEMORY_BYTES = 3 << 30  # assumed to be available where the system does not report it


def share_of_memory_bytes() -> int:
    """Return how much memory this process may fill with photos or activations: half of what is available, in equal parts."""
    return (available_memory_bytes() or _UNKNOWN_MEMORY_BYTES) // 2 // _processes_here()


def share_of_cores() -> int:
    """Return how many cores this process may use, at least 1."""
    return max(1, available_cores() // _processes_here())


def _processes_here() -> int:
    """Return the number of processes of this training on this machine, which torchrun sets."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
