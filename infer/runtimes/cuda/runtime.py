"""The CUDA runtime for TensorRT: streams, buffers and graphs, every answer checked, everything released.

Not yet run on hardware: see README, What has not been run. Names are those of cuda-bindings 12 and 13 (tests/names).
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vegrt.errors import EngineError

log = logging.getLogger(__name__)


class Cuda:
    """What one owner made on the GPU: streams, buffers and graphs. `close` releases them, the last made first.

    Not thread-safe: work that is on its way when `close` is called must be waited for before.
    """

    def __init__(self, cudart: Any) -> None:
        self._cudart = cudart
        self._made = ExitStack()

    def close(self) -> None:
        """Release everything. May be called again. What fails is logged: at the end of a process CUDA may be gone before us."""
        self._made.close()

    def stream(self) -> Any:
        """Return a new stream."""
        stream = self.check(self._cudart.cudaStreamCreate())
        self._release(self._cudart.cudaStreamDestroy, stream)
        return stream

    def device_buffer(self, size_bytes: int) -> int:
        """Return the address of new memory on the GPU."""
        address = self.check(self._cudart.cudaMalloc(size_bytes))
        self._release(self._cudart.cudaFree, address)
        return int(address)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return a new array in page-locked host memory, from and to which copies run beside computing. Gone after `close`."""
        size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = self.check(self._cudart.cudaMallocHost(size_bytes))
        self._release(self._cudart.cudaFreeHost, address)
        memory = (ctypes.c_uint8 * size_bytes).from_address(int(address))
        return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def upload(self, device: int, host: NDArray[Any], stream: Any) -> None:
        """Begin to copy a contiguous array to the GPU. host: must stay as it is until the stream is waited for."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.check(self._cudart.cudaMemcpyAsync(device, host.ctypes.data, host.nbytes, kind, stream))

    def download(self, host: NDArray[Any], device: int, stream: Any) -> None:
        """Begin to copy into a contiguous array from the GPU. host: is filled when the stream has been waited for."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.check(self._cudart.cudaMemcpyAsync(host.ctypes.data, device, host.nbytes, kind, stream))

    def wait(self, stream: Any) -> None:
        """Return when all work of the stream is done. Raises EngineError when any of it failed."""
        self.check(self._cudart.cudaStreamSynchronize(stream))

    def capture(self, stream: Any, work: Callable[[], None]) -> Any | None:
        """Return what `work` puts on the stream as a graph to launch; nothing of it runs. None, logged, where CUDA cannot.

        Only calls of this thread are recorded and restricted, so that other threads may allocate meanwhile.
        """
        mode = self._cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        try:
            self.check(self._cudart.cudaStreamBeginCapture(stream, mode))
            try:
                work()
            finally:  # also ends a capture that failed: the stream would stay unusable
                error, graph = self._cudart.cudaStreamEndCapture(stream)
            self.check((error, graph))
            ready = self.check(self._cudart.cudaGraphInstantiate(graph, 0))
            self.check(self._cudart.cudaGraphDestroy(graph))  # the instance is a copy
        except EngineError as problem:
            self._cudart.cudaGetLastError()  # clears it: later calls would report it as theirs
            log.warning("no CUDA graph for this batch size, it runs call by call (%s)", problem)
            return None
        self._release(self._cudart.cudaGraphExecDestroy, ready)
        return ready

    def launch(self, graph: Any, stream: Any) -> None:
        """Begin to run a captured graph."""
        self.check(self._cudart.cudaGraphLaunch(graph, stream))

    def check(self, answer: tuple[Any, ...]) -> Any:
        """Return the value in a CUDA answer (error, value). Raises EngineError for any error."""
        error, *values = answer
        if error != self._cudart.cudaError_t.cudaSuccess:
            raise EngineError(f"CUDA: {error.name}; see nvidia-smi for what else uses the GPU")
        return values[0] if values else None

    def _release(self, function: Callable[[Any], tuple[Any, ...]], subject: Any) -> None:
        self._made.callback(_quietly, function, subject)


def _quietly(function: Callable[[Any], tuple[Any, ...]], subject: Any) -> None:
    error = function(subject)[0]
    if int(error):
        log.debug("CUDA: releasing failed (%s)", error.name)
