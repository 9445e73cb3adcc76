"""The network whose activations are observed, and the activations of some photos in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
class PeakCheck:
    """A check of tensors' largest magnitudes, in the same run as the observation.

    names: of the tensors; some may be observed as well. verify: is called with name -> largest |x| over all photos, NaN where a
    value is NaN; what it raises ends the observation.
    """

    names: Sequence[str]
    verify: Callable[[Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class Network:
    """A float network with inner tensors that can be read, by several threads at once.

    names: of the tensors to observe. read: returns them, in order, for (N, H, W, 3) uint8 images; any shape. check: of other
    tensors' magnitudes. read_all: returns the tensors of `all_names`; needed with a check. workers: batches that run at once.
    """

    names: Sequence[str]
    read: Reader
    check: PeakCheck | None = None
    read_all: Reader | None = None
    workers: int = 1

    @property
    def all_names(self) -> list[str]:
        """Return the names of the tensors to observe, and then those that are only checked."""
        return list(dict.fromkeys([*self.names, *(self.check.names if self.check else ())]))


def open_network(model: ir.Model, names: Sequence[str], check: PeakCheck | None = None) -> Network:
    """Return a float32 graph as a network of which the tensors `names` are observed."""
    workers = min(_MOST_WORKERS, available_cores())

    def reader(tensors: Sequence[str]) -> Reader:
        threads = max(1, available_cores() // workers)
        read: Reader = read_tensors(expose_tensors(copy_graph(model), tensors), tensors, threads=threads)
        return read

    network = Network(names, reader(names), check, workers=workers)
    return Network(names, network.read, check, reader(network.all_names), workers) if check else network


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
