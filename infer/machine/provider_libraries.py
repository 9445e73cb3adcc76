"""Why the libraries of ONNX Runtime's GPU providers do not load, in the words of the system's loader.

ONNX Runtime reports a missing library as "graph nodes that are assigned to the default CPU EP". Seen with onnxruntime-gpu 1.26
and 1.31: the CUDA provider's file does not say where cuBLAS lies, nor the TensorRT provider's where libnvinfer.so.10 does.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import json
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

_FILES = {
    "CUDAExecutionProvider": "libonnxruntime_providers_cuda.so",
    "TensorrtExecutionProvider": "libonnxruntime_providers_tensorrt.so",
}
_SHARED = "libonnxruntime_providers_shared.so"  # both refer to it without naming it
_PROGRAM = "from vegrt.infer.machine.provider_libraries import print_unloadable; print_unloadable()"
_TIMEOUT_S = 60  # TensorRT's libraries are gigabytes, which a cold disk takes long to read


def find_unloadable() -> dict[str, str]:
    """Return the loader's words for each provider that does not load here; empty where all do.

    Loads them in a process of their own: outside of a session a provider that loads may crash it (1.31). What was said before
    a crash counts.
    """
    try:
        done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


def print_unloadable() -> None:
    """Print one JSON array per provider that does not load: its name and the loader's words. For a process of its own."""
    ort = importlib.import_module("onnxruntime")
    preload(ort, tensorrt=True)
    for provider, words in unloadable_in(Path(str(ort.__file__)).parent / "capi").items():
        sys.stdout.write(json.dumps([provider, words]) + "\n")
        sys.stdout.flush()


def preload(ort: Any, *, tensorrt: bool) -> str:
    """Load CUDA's libraries, and TensorRT's, from the packages that hold them; return what could not be loaded, in words.

    ort: the module onnxruntime.
    """
    with redirect_stdout(io.StringIO()) as printed:  # preload_dlls prints what it cannot load
        if hasattr(ort, "preload_dlls"):  # since 1.21
            ort.preload_dlls()
    words = printed.getvalue().strip()
    if tensorrt:
        try:
            importlib.import_module("tensorrt")  # loads libnvinfer, which lies in its package
        except ImportError as error:
            words += f"\ntensorrt: {error}"
    return words.strip()


def unloadable_in(folder: Path) -> dict[str, str]:
    """Return the loader's words for each provider whose file is in the folder and does not load."""
    with suppress(OSError):
        ctypes.CDLL(str(folder / _SHARED), mode=ctypes.RTLD_GLOBAL)
    words = {provider: loader_words(folder / name) for provider, name in _FILES.items() if (folder / name).is_file()}
    return {provider: text for provider, text in words.items() if text}


def loader_words(file: Path) -> str:
    """Return in the loader's own words why a library cannot be loaded; empty if it can."""
    try:
        ctypes.CDLL(str(file))
    except OSError as error:
        return str(error)
    return ""
