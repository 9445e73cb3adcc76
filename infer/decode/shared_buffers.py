"""Buffers in memory that worker processes can share."""

from __future__ import annotations

import mmap
import os

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import VegrtError


def can_share() -> bool:
    """Return whether this system has nameless shared memory: Linux has, macOS and Windows have not."""
    return hasattr(os, "memfd_create")


class SharedBuffers:
    """Nameless shared memory: the system frees it with the last process that has it, however that ends; /dev/shm is not involved.

    arrays: (count, *shape) uint8. descriptor: for child processes to inherit.
    """

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        size_bytes = count * int(np.prod(shape))
        try:
            self.descriptor = os.memfd_create("vegrt-decode")
            os.ftruncate(self.descriptor, size_bytes)
            memory = mmap.mmap(self.descriptor, size_bytes)
        except (AttributeError, OSError) as error:  # a system without memfd_create, or one that forbids it
            raise VegrtError(f"decode workers: no shared memory here ({error}); use --decode threads") from error
        self.arrays: NDArray[np.uint8] = np.frombuffer(memory, np.uint8).reshape(count, *shape)

    def close(self) -> None:
        """Close the descriptor; the arrays stay. May be called again."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
