"""ONNX Runtime's execution providers: their options, the libraries that they need, and why one cannot be loaded.

What is said here of CUDA and TensorRT was seen with onnxruntime-gpu 1.26 and 1.31 without a GPU; docs/gpu.md has the list.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vegrt.errors import MissingExtraError, VegrtError
from vegrt.infer.machine.provider_libraries import loader_words, preload

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider. library: part of the name of its file; empty for the CPU's, which is built in."""

    name: str
    library: str = ""
    options: dict[str, str] = field(default_factory=dict)


CPU = Provider("CPUExecutionProvider")
CUDA = Provider(
    "CUDAExecutionProvider",
    "cuda",
    {
        "use_tf32": "0",  # fp32 is what others are compared with: no mantissas of 10 bits
        "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE, the default, times every convolution anew for each batch size
        "arena_extend_strategy": "kSameAsRequested",  # by default its memory grows to the next power of two
    },
)
BY_DEVICE = {"cpu": CPU, "cuda": CUDA}
_TENSORRT = "TensorrtExecutionProvider"


@dataclass(frozen=True, slots=True)
class TensorRtProvider:
    """How ONNX Runtime's TensorRT provider builds its engine, when the first batch comes.

    shape: of one image, (H, W, 3). int8: whether the model has QuantizeLinear nodes. cache: the folder that keeps the
    engine, one per model, because the provider's own key does not cover the weights. largest: batch that the engine takes.
    """

    shape: tuple[int, int, int]
    int8: bool
    cache: Path
    tuned: int = 8
    largest: int = 32

    def options(self, *, float16: bool) -> dict[str, str]:
        """Return the provider's options (onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider)."""
        shapes = zip(("min", "opt", "max"), (1, self.tuned, self.largest), strict=True)
        return {
            **{
                f"trt_profile_{name}_shapes": "images:" + "x".join(map(str, (count, *self.shape)))
                for name, count in shapes
            },
            "trt_fp16_enable": str(int(float16)),
            "trt_int8_enable": str(int(self.int8)),
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(self.cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(self.cache),
        }

    def provider(self, *, float16: bool) -> Provider:
        """Return the provider; the folder of its cache is made. Raises VegrtError where it cannot be made."""
        make_cache(self.cache)
        return Provider(_TENSORRT, "tensorrt", self.options(float16=float16))


def note_tf32(*, float16: bool) -> None:
    """Log that float32 layers may use TF32 on the TensorRT provider, which has no option against it. float16: there are none."""
    if not float16 and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0":
        log.info("TensorRT may compute float32 in TF32, with mantissas of 10 bits; NVIDIA_TF32_OVERRIDE=0 forbids it")


def make_cache(cache: Path) -> None:
    """Make the folder for engines. Raises VegrtError where it cannot be made."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VegrtError(
            f"{cache}: engines cannot be kept there ({error.strerror}); set XDG_CACHE_HOME to a folder that can be written"
        ) from error


def load_libraries(ort: Any, provider: Provider) -> None:
    """Load the libraries that a provider needs from the packages that hold them: its own file does not say where they are.

    Raises MissingExtraError when onnxruntime was built without the provider: it would only warn, and run on the CPU. A library
    that is missing is no error here; `provider_failure` tells of it when the session could not be made.
    """
    if provider.name not in (available := ort.get_available_providers()):
        raise MissingExtraError(
            f"onnxruntime: {provider.name} was asked for, this build has {', '.join(available)}; "
            "pip uninstall onnxruntime, then pip install 'vegrt[gpu]'"
        )
    if not provider.library:
        return
    log.debug("libraries loaded: %s", preload(ort, tensorrt=provider.library == "tensorrt") or "all")


def provider_failure(ort: Any, provider: Provider) -> str:
    """Return in the loader's own words why a provider's library cannot be loaded; empty if it can.

    Only after a session with it could not be made: then ONNX Runtime has loaded what the library refers to when it starts.
    Before, a library that can be loaded crashes the process (1.31).
    """
    if not provider.library:
        return ""
    return loader_words(Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{provider.library}.so")


def session_words(error: Exception) -> str:
    """Return what ONNX Runtime says of a session on a GPU that it could not make, without its C++ signatures and line numbers."""
    text = " ".join(str(error).split())
    if failure := re.search(r"CUDA failure \d+: [^;]+", text):
        return failure[0].strip()
    return f"{text.rpartition('[ONNXRuntimeError] : ')[2]:.300}"
