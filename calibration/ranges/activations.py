"""The network whose activations are observed, and the activations of some photos in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.graph.onnx_graph import copy_graph, expose_tensors
from vegrt.infer.runtimes.onnxruntime.session import read_tensors
from vegrt.machine import available_cores, available_memory_bytes

LIMIT_BYTES = 8 << 30
_MEMORY_SHARE = 4  # the store takes at most a quarter of the memory that is available when it is made
_MOST_WORKERS = 4  # each holds all inner tensors of a batch

Tensors = Sequence[NDArray[np.float32]]
Reader = Callable[[NDArray[np.uint8]], Tensors]


@dataclass(frozen=True, slots=True)
class Network:
    """A float network with inner tensors that can be read, by several threads at once.

    names: of the tensors to observe. read: returns them, in order, for (N, H, W, 3) uint8 images; any shape. workers: number of
    batches that run at once.
    """

    names: Sequence[str]
    read: Reader
    workers: int = 1


def open_network(model: ir.Model, names: Sequence[str]) -> Network:
    """Return a float32 graph as a network of which the tensors `names` are observed."""
    workers = min(_MOST_WORKERS, available_cores())
    threads = max(1, available_cores() // workers)
    return Network(names, read_tensors(expose_tensors(copy_graph(model), names), names, threads=threads), workers)


class ActivationStore:
    """Tensors of batches of photos, by the batch's index. Memory: at most `limit_bytes`; what does not fit is not stored."""

    def __init__(self, limit_bytes: int) -> None:
        self._free_bytes, self._lock = limit_bytes, Lock()
        self._tensors: dict[int, Tensors] = {}

    def add(self, index: int, tensors: Tensors) -> None:
        """Store a batch's tensors if they fit."""
        size_bytes = sum(values.nbytes for values in tensors)
        with self._lock:
            if size_bytes > self._free_bytes:
                return
            self._free_bytes -= size_bytes
        self._tensors[index] = tensors

    def take(self, index: int) -> Tensors | None:
        """Return a batch's tensors and forget them; None if they are not stored."""
        return self._tensors.pop(index, None)


def memory_for_activations() -> int:
    """Return how many bytes of activations may be stored: a quarter of the available memory, LIMIT_BYTES at most."""
    return min(LIMIT_BYTES, available_memory_bytes() // _MEMORY_SHARE)
