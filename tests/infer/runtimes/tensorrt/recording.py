"""A stand-in for the CUDA runtime and for TensorRT's engine that records the calls and does the work when a stream is waited for.

Nothing runs before it is waited for: who reads a result too early, or overwrites what is still to be copied, gets wrong numbers.
The "device" is host memory. An image's logits are the sum of its pixels times 0, 1, 2 ...
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXELS, CLASSES, LARGEST, SCRATCH_BYTES = (4, 4, 3), 5, 32, 4096
Work = Callable[[], object]


def logits_of(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    sums = images.sum(axis=(1, 2, 3), dtype=np.float32)
    return np.outer(sums, np.arange(CLASSES)).astype(np.float32)


class Cudart:
    """The names of cuda.bindings.runtime. failing: name of a call -> error code that it answers."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.failing: dict[str, int] = {}
        self.memory: dict[int, Any] = {}
        self.streams: dict[int, list[Work]] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.capturing: int | None = None
        self.most_in_progress = 0

    def named(self, name: str) -> list[Any]:
        """Return what the calls of that name were about, in order."""
        return [subject for call, subject in self.calls if call == name]

    def put(self, stream: int, work: Work) -> None:
        """Put work on a stream, or into the graph that is being captured on it."""
        if self.capturing == stream:
            self.graphs[stream].append(work)
            return
        self.streams[stream].append(work)
        self.most_in_progress = max(self.most_in_progress, sum(bool(waiting) for waiting in self.streams.values()))

    def get_cuda_native_handle(self, stream: int) -> int:
        return stream

    def cudaGetErrorName(self, error: int) -> tuple[int, bytes]:
        return 0, b"cudaErrorMemoryAllocation" if error == 2 else b"cudaErrorIllegalAddress"

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:
        return 0, b"out of memory" if error == 2 else b"an illegal memory access was encountered"

    def cudaGetLastError(self) -> tuple[int]:
        return (0,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:
        stream = 1000 + len(self.streams)
        self.streams[stream] = []
        return self._answer("cudaStreamCreateWithFlags", flags, stream)

    def cudaStreamDestroy(self, stream: int) -> tuple[int, None]:
        assert not self.streams.pop(stream)
        return self._answer("cudaStreamDestroy", stream)

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        return self._answer("cudaMalloc", size, self._allocate(size))

    def cudaMallocHost(self, size: int) -> tuple[int, int]:
        return self._answer("cudaMallocHost", size, self._allocate(size))

    def cudaFree(self, address: int) -> tuple[int, None]:
        del self.memory[address]
        return self._answer("cudaFree", address)

    def cudaFreeHost(self, address: int) -> tuple[int, None]:
        del self.memory[address]
        return self._answer("cudaFreeHost", address)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[int, None]:
        self.put(stream, lambda: ctypes.memmove(target, source, size))
        return self._answer("cudaMemcpyAsync", (kind, size, stream))

    def cudaStreamSynchronize(self, stream: int) -> tuple[int, None]:
        assert self.capturing is None
        while self.streams[stream]:
            self.streams[stream].pop(0)()
        return self._answer("cudaStreamSynchronize", stream)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int, None]:
        assert not self.streams[stream]
        self.capturing, self.graphs[stream] = stream, []
        return self._answer("cudaStreamBeginCapture", stream)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, int]:
        self.capturing = None
        return self._answer("cudaStreamEndCapture", stream, stream)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[int, int]:
        instance = 5000 + len(self.calls)
        self.graphs[instance] = self.graphs[graph]
        return self._answer("cudaGraphInstantiate", graph, instance)

    def cudaGraphDestroy(self, graph: int) -> tuple[int, None]:
        del self.graphs[graph]
        return self._answer("cudaGraphDestroy", graph)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[int, None]:
        del self.graphs[graph]
        return self._answer("cudaGraphExecDestroy", graph)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[int, None]:
        for work in self.graphs[graph]:
            self.put(stream, work)
        return self._answer("cudaGraphLaunch", stream)

    def _allocate(self, size: int) -> int:
        block = (ctypes.c_uint8 * max(size, 1))()
        self.memory[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def _answer(self, name: str, subject: Any, value: Any = None) -> tuple[int, Any]:
        self.calls.append((name, subject))
        return self.failing.get(name, 0), value


class Engine:
    """The names of ICudaEngine. contexts: number that can still be created."""

    device_memory_size_v2 = SCRATCH_BYTES

    def __init__(self, cudart: Cudart, *, contexts: int = 1000) -> None:
        self.cudart, self.contexts = cudart, contexts
        self.scratch: list[tuple[int, int]] = []  # address and size that each context was given

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        assert (name, profile) == ("images", 0)
        return [(batch, *PIXELS) for batch in (1, 8, LARGEST)]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, CLASSES)

    def create_execution_context(self, strategy: str) -> Context | None:
        assert strategy == "user managed"
        self.contexts -= 1
        return Context(self) if self.contexts >= 0 else None


class Context:
    """The names of IExecutionContext."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.addresses = engine, dict[str, int]()
        self.batch = 0
        self.shapes_run: set[int] = set()

    def set_device_memory(self, address: int, size: int) -> None:
        assert address in self.engine.cudart.memory
        assert size >= SCRATCH_BYTES
        self.engine.scratch.append((address, size))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in ("images", "logits")

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        self.batch = shape[0]
        return name == "images" and 1 <= self.batch <= LARGEST and tuple(shape[1:]) == PIXELS

    def execute_async_v3(self, stream: int) -> bool:
        cudart, batch = self.engine.cudart, self.batch
        if cudart.capturing == stream and batch not in self.shapes_run:
            return False  # the first run of a shape does what cannot be captured
        self.shapes_run.add(batch)
        cudart.put(stream, lambda: self._compute(batch))
        return True

    def _compute(self, batch: int) -> None:
        memory = (ctypes.c_uint8 * (batch * int(np.prod(PIXELS)))).from_address(self.addresses["images"])
        logits = logits_of(np.ctypeslib.as_array(memory).reshape(batch, *PIXELS))
        ctypes.memmove(self.addresses["logits"], logits.ctypes.data, logits.nbytes)


class Severity:
    """ILogger's severities."""

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    """TensorRT's base class of loggers."""

    Severity = Severity


class Runtime:
    """TensorRT's Runtime: opens the plan b"engine", in a version-compatible form b"engine and code"."""

    def __init__(self, logger: Any) -> None:
        self.logger, self.engine_host_code_allowed = logger, False

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if plan == b"engine" or (plan == b"engine and code" and self.engine_host_code_allowed):
            return Engine(Cudart())
        self.logger.log(Severity.ERROR, "Error Code 4:\nthe plan is not one of mine")
        return None


def tensorrt() -> Any:
    """Return what stands for the module tensorrt."""
    strategies = SimpleNamespace(USER_MANAGED="user managed")
    names = {"ILogger": ILogger, "Runtime": Runtime, "ExecutionContextAllocationStrategy": strategies}
    return SimpleNamespace(__version__="10.13.0", **names)
