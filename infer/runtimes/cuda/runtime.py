"""The CUDA runtime: streams, buffers and graphs, every answer checked, everything released.

Not yet run on hardware: see docs/gpu.md. Names are those of cuda-bindings 12 and 13 (tests/names), which `cudart_ctypes` repeats.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vegrt.errors import EngineError, require
from vegrt.infer.runtimes.cuda import cudart_ctypes

log = logging.getLogger(__name__)

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


def load_cudart() -> ModuleType:
    """Return a binding of the CUDA runtime: cuda-bindings, or the system's libcudart where only that one finds a device.

    The wheels of cuda-bindings contain a runtime since 12.9.3; a driver that is older than it answers error 35. Raises
    MissingExtraError where there is neither.
    """
    try:
        bindings: ModuleType | None = import_module("cuda.bindings.runtime")
    except ImportError:
        bindings = None
    if bindings is not None and _finds_device(bindings):
        return bindings
    if cudart_ctypes.is_present() and (bindings is None or _finds_device(cudart_ctypes)):
        return cudart_ctypes
    return bindings or require("cuda.bindings.runtime", "tensorrt")


def _finds_device(cudart: ModuleType) -> bool:
    error, count = cudart.cudaGetDeviceCount()
    return not int(error) and count > 0


class Cuda:
    """What one owner made on the GPU: streams and buffers. `close` releases them, the last made first.

    cudart: see `load_cudart`. Not thread-safe: work that is on its way when `close` is called must be waited for before.
    """

    def __init__(self, cudart: Any) -> None:
        self._cudart = cudart
        self._made = ExitStack()
        owner = cudart if hasattr(cudart, "get_cuda_native_handle") else require("cuda.bindings.utils", "tensorrt")
        self._handle_of = owner.get_cuda_native_handle  # int(stream), which it replaces, is deprecated

    def close(self) -> None:
        """Release everything. May be called again. What fails is logged: at the end of a process CUDA may be gone before us."""
        self._made.close()

    def stream(self) -> Any:
        """Return a new stream that does not wait for the legacy stream: a capture would fail when anybody uses that one."""
        stream = self.check(self._cudart.cudaStreamCreateWithFlags(self._cudart.cudaStreamNonBlocking))
        self._release(self._cudart.cudaStreamDestroy, stream)
        return stream

    def handle(self, stream: Any) -> int:
        """Return the stream as the number that other libraries take."""
        return int(self._handle_of(stream))

    def device_buffer(self, size_bytes: int) -> int:
        """Return the address of new memory on the GPU, aligned to 256 bytes."""
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

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """Return what `work` puts on the stream as a graph to launch; nothing of it runs. The caller destroys the graph.

        Only calls of this thread are recorded and restricted, so that other threads may allocate meanwhile. Raises EngineError.
        """
        mode = self._cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        try:
            self.check(self._cudart.cudaStreamBeginCapture(stream, mode))
            try:
                work()
            finally:  # also ends a capture that failed: the stream would stay unusable
                answer = self._cudart.cudaStreamEndCapture(stream)
            graph = self.check(answer)
            try:
                return self.check(self._cudart.cudaGraphInstantiate(graph, 0))
            finally:
                self._quietly(self._cudart.cudaGraphDestroy, graph)  # the instance is a copy
        except EngineError:
            self.forget_error()
            raise

    def launch(self, graph: Any, stream: Any) -> None:
        """Begin to run a captured graph."""
        self.check(self._cudart.cudaGraphLaunch(graph, stream))

    def destroy_graph(self, graph: Any) -> None:
        """Release a captured graph. It must not be running."""
        self._quietly(self._cudart.cudaGraphExecDestroy, graph)

    def forget_error(self) -> None:
        """Clear the last error, which later calls would report as theirs."""
        self._cudart.cudaGetLastError()

    def check(self, answer: tuple[Any, ...]) -> Any:
        """Return the value in a CUDA answer (error, value). Raises EngineError for any error, in CUDA's words."""
        error, *values = answer
        if int(error):
            cure = "see nvidia-smi for what else uses the GPU" if int(error) == _OUT_OF_MEMORY else "see: vegrt doctor"
            raise EngineError(f"CUDA: {self._words(error)}; {cure}")
        return values[0] if values else None

    def _words(self, error: Any) -> str:
        name, meaning = self._cudart.cudaGetErrorName(error)[1], self._cudart.cudaGetErrorString(error)[1]
        return f"{str(name, 'utf-8')} ({str(meaning, 'utf-8')})"

    def _release(self, function: Callable[[Any], tuple[Any, ...]], subject: Any) -> None:
        self._made.callback(self._quietly, function, subject)

    def _quietly(self, function: Callable[[Any], tuple[Any, ...]], subject: Any) -> None:
        error = function(subject)[0]
        if int(error):
            log.debug("CUDA: releasing failed (%s)", self._words(error))
