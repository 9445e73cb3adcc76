"""The CUDA runtime by ctypes: the functions that vegrt uses, under the names and with the answers of `cuda.bindings.runtime`.

For a Jetson with JetPack 6: its system has libcudart 12.6, and the wheels of cuda-bindings since 12.9.3 contain a runtime of
their own that is newer than its driver. Imports nothing but the standard library, so that the file can be copied beside a
program. Every function returns (error, value) or (error,); addresses, streams and graphs are numbers. ctypes releases Python's
lock in every call.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache
from typing import Any, ClassVar

_FILES = ("libcudart.so.13", "libcudart.so.12", "/usr/local/cuda/lib64/libcudart.so")

_POINTER, _SIZE, _INT, _OUT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.POINTER(ctypes.c_void_p)
_UNSIGNED, _FLAGS = ctypes.c_uint, ctypes.c_ulonglong
# Arguments as in cuda_runtime_api.h of CUDA 12 and 13; before 12, cudaGraphInstantiate took five.
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "cudaGetDeviceCount": (ctypes.POINTER(_INT),),
    "cudaGetLastError": (),
    "cudaStreamCreateWithFlags": (_OUT, _UNSIGNED),
    "cudaStreamDestroy": (_POINTER,),
    "cudaStreamSynchronize": (_POINTER,),
    "cudaMalloc": (_OUT, _SIZE),
    "cudaFree": (_POINTER,),
    "cudaMallocHost": (_OUT, _SIZE),
    "cudaFreeHost": (_POINTER,),
    "cudaMemcpyAsync": (_POINTER, _POINTER, _SIZE, _INT, _POINTER),
    "cudaStreamBeginCapture": (_POINTER, _INT),
    "cudaStreamEndCapture": (_POINTER, _OUT),
    "cudaGraphInstantiate": (_OUT, _POINTER, _FLAGS),
    "cudaGraphDestroy": (_POINTER,),
    "cudaGraphExecDestroy": (_POINTER,),
    "cudaGraphLaunch": (_POINTER, _POINTER),
}
_TEXTS = ("cudaGetErrorName", "cudaGetErrorString")

cudaStreamNonBlocking = 1


class cudaError_t(int):
    """An error code of the CUDA runtime."""

    cudaSuccess: ClassVar[cudaError_t]

    @property
    def name(self) -> str:
        """Return CUDA's name of the code, such as cudaErrorInsufficientDriver."""
        return cudaGetErrorName(self)[1].decode()


cudaError_t.cudaSuccess = cudaError_t(0)


class cudaMemcpyKind:
    """Directions of a copy."""

    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode:
    """How far a capture restricts calls of other threads."""

    cudaStreamCaptureModeThreadLocal = 1


def is_present() -> bool:
    """Return whether a libcudart can be loaded."""
    try:
        _library()
    except OSError:
        return False
    return True


def get_cuda_native_handle(handle: int) -> int:
    """Return the number of a stream, as cuda.bindings.utils does."""
    return int(handle)


def cudaGetDeviceCount() -> tuple[cudaError_t, int]:
    """Return the number of devices."""
    count = _INT()
    return _call("cudaGetDeviceCount", ctypes.byref(count)), count.value


def cudaGetLastError() -> tuple[cudaError_t]:
    """Return the last error, and clear it."""
    return (_call("cudaGetLastError"),)


def cudaGetErrorName(error: int) -> tuple[cudaError_t, bytes]:
    """Return the name of an error code."""
    return cudaError_t.cudaSuccess, _library().cudaGetErrorName(error)


def cudaGetErrorString(error: int) -> tuple[cudaError_t, bytes]:
    """Return what an error code means."""
    return cudaError_t.cudaSuccess, _library().cudaGetErrorString(error)


def cudaStreamCreateWithFlags(flags: int) -> tuple[cudaError_t, int]:
    """Return a new stream."""
    return _make("cudaStreamCreateWithFlags", flags)


def cudaStreamDestroy(stream: int) -> tuple[cudaError_t]:
    """Destroy a stream."""
    return (_call("cudaStreamDestroy", stream),)


def cudaStreamSynchronize(stream: int) -> tuple[cudaError_t]:
    """Wait for all work of a stream."""
    return (_call("cudaStreamSynchronize", stream),)


def cudaMalloc(size: int) -> tuple[cudaError_t, int]:
    """Return the address of new memory on the device, in bytes."""
    return _make("cudaMalloc", size)


def cudaFree(address: int) -> tuple[cudaError_t]:
    """Free memory on the device."""
    return (_call("cudaFree", address),)


def cudaMallocHost(size: int) -> tuple[cudaError_t, int]:
    """Return the address of new page-locked memory, in bytes."""
    return _make("cudaMallocHost", size)


def cudaFreeHost(address: int) -> tuple[cudaError_t]:
    """Free page-locked memory."""
    return (_call("cudaFreeHost", address),)


def cudaMemcpyAsync(target: int, source: int, size: int, kind: int, stream: int) -> tuple[cudaError_t]:
    """Begin to copy `size` bytes."""
    return (_call("cudaMemcpyAsync", target, source, size, kind, stream),)


def cudaStreamBeginCapture(stream: int, mode: int) -> tuple[cudaError_t]:
    """Begin to record what is put on a stream."""
    return (_call("cudaStreamBeginCapture", stream, mode),)


def cudaStreamEndCapture(stream: int) -> tuple[cudaError_t, int]:
    """Return the graph of what was recorded."""
    return _get("cudaStreamEndCapture", stream)


def cudaGraphInstantiate(graph: int, flags: int) -> tuple[cudaError_t, int]:
    """Return a graph that can be launched."""
    return _make("cudaGraphInstantiate", graph, flags)


def cudaGraphDestroy(graph: int) -> tuple[cudaError_t]:
    """Destroy a recorded graph."""
    return (_call("cudaGraphDestroy", graph),)


def cudaGraphExecDestroy(graph: int) -> tuple[cudaError_t]:
    """Destroy a graph that can be launched."""
    return (_call("cudaGraphExecDestroy", graph),)


def cudaGraphLaunch(graph: int, stream: int) -> tuple[cudaError_t]:
    """Begin to run a graph."""
    return (_call("cudaGraphLaunch", graph, stream),)


def _make(name: str, *arguments: Any) -> tuple[cudaError_t, int]:
    """Call a function whose first argument takes the result."""
    result = ctypes.c_void_p()
    return _call(name, ctypes.byref(result), *arguments), result.value or 0


def _get(name: str, *arguments: Any) -> tuple[cudaError_t, int]:
    """Call a function whose last argument takes the result."""
    result = ctypes.c_void_p()
    return _call(name, *arguments, ctypes.byref(result)), result.value or 0


def _call(name: str, *arguments: Any) -> cudaError_t:
    return cudaError_t(getattr(_library(), name)(*arguments))


@cache
def _library() -> ctypes.CDLL:
    """Return the first libcudart that a device answers to, or the first that can be loaded. Raises OSError without one.

    One that another library has loaded already is found by its name, wherever it lies.
    """
    loaded = []
    for file in _FILES:
        with suppress(OSError):
            loaded.append(_declared(ctypes.CDLL(file)))
    if not loaded:
        raise OSError(f"none of {', '.join(_FILES)} can be loaded")
    return next((library for library in loaded if not library.cudaGetDeviceCount(ctypes.byref(_INT()))), loaded[0])


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    for name, types in _ARGUMENTS.items():
        getattr(library, name).argtypes = types
    for name in _TEXTS:
        getattr(library, name).argtypes, getattr(library, name).restype = (_INT,), ctypes.c_char_p
    return library
