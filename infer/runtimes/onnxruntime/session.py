"""Sessions of ONNX Runtime: models loaded for one provider, and a float model with its inner tensors exposed for calibration.

The provider asked for runs every node of the model, or opening it is an error: ONNX Runtime itself would silently fall back to
the CPU. The GPU parts have not yet run on hardware: see docs/gpu.md.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import MissingExtraError, ModelError, VegrtError, reason_of, require
from vegrt.infer.runtimes.onnxruntime.providers import (
    BY_DEVICE,
    Provider,
    TensorRtProvider,
    load_libraries,
    note_tf32,
    provider_failure,
    session_words,
)
from vegrt.machine import available_cores

# This pass turns int8 models with float16 scales into garbage on the CPU provider (1.31, 1.32). With float32 scales it is
# right there, and needed: it quantizes the bias, without which no convolution becomes an 8-bit one. But TensorRT refuses the
# int32 bias that it makes (onnxruntime issues 14229 and 22889).
_BIAS_PASS = "WeightBiasQuantization"
_X86 = ("x86_64", "amd64")
_ERROR, _FATAL = 3, 4  # severities of its log, which goes to stderr; on a GPU its errors are told in the exception


def open_session(
    model: Path | bytes,
    *,
    float16: bool = False,
    in_float: bool = False,
    device: str = "cpu",
    threads: int = 0,
    tensorrt: TensorRtProvider | None = None,
) -> Any:
    """Return an onnxruntime.InferenceSession.

    in_float: a CPU computes the layers of a quantized model in float, on values rounded to 8 bits.

    Raises ModelError when the file is no model that it can load, MissingExtraError when the provider's library cannot be loaded,
    VegrtError for an unknown device, or when another provider would run than the one asked for.
    """
    ort = require("onnxruntime", "gpu" if device == "cuda" or tensorrt else "cpu")
    if device not in BY_DEVICE:
        raise VegrtError(f"onnxruntime: unknown device {device!r}; expected one of {', '.join(BY_DEVICE)}")
    provider = tensorrt.provider(float16=float16) if tensorrt else BY_DEVICE[device]
    load_libraries(ort, provider)
    try:
        session = ort.InferenceSession(
            str(model) if isinstance(model, Path) else model,
            _session_options(ort, provider, threads, in_float=in_float),
            providers=[(provider.name, provider.options)],
            disabled_optimizers=disabled_optimizers(provider, float16=float16),
            enable_fallback=0,  # it would print on stdout, and then run on the CPU
        )
    except Exception as error:  # its exceptions share no base class but Exception
        raise _mapped_failure(ort, provider, model, error) from error
    if (used := session.get_providers()[0]) != provider.name:
        raise VegrtError(f"onnxruntime: {provider.name} was asked for, {used} would run; see: vegrt doctor")
    if tensorrt:
        note_tf32(float16=float16)
    return session


def disabled_optimizers(provider: Provider, *, float16: bool) -> list[str] | None:
    """Return the passes of ONNX Runtime that make a model wrong for a provider. float16: whether its scales are float16."""
    return [_BIAS_PASS] if float16 or provider.library == "tensorrt" else None


def is_faster_in_float(variant: str) -> bool:
    """Return whether a variant is faster with `in_float` on the CPU of this machine.

    int8 is on x86: its convolutions do not all write 8 bits, so the 8-bit kernels take few of them, and the weights of the others
    would be dequantized for every batch.
    """
    return variant == "int8" and platform.machine().lower() in _X86


def _session_options(ort: Any, provider: Provider, threads: int, *, in_float: bool) -> Any:
    severity = _FATAL if provider.library else _ERROR
    ort.set_default_logger_severity(severity)
    options = ort.SessionOptions()
    options.log_severity_level = severity
    options.intra_op_num_threads = threads or available_cores()
    # Its threads would wait by spinning, on the cores that decode threads need: files to CSV was a third slower so.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider.library:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    elif in_float:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def _mapped_failure(ort: Any, provider: Provider, model: Path | bytes, error: Exception) -> VegrtError:
    subject = model if isinstance(model, Path) else "model"
    if not provider.library:
        return ModelError(f"{subject}: ONNX Runtime cannot load it ({reason_of(error)})")
    if words := provider_failure(ort, provider):
        return MissingExtraError(f"onnxruntime: {provider.name} cannot be loaded ({words}); see: vegrt doctor")
    return ModelError(
        f"{subject}: ONNX Runtime cannot load it with {provider.name} ({session_words(error)}); see: vegrt doctor"
    )


def run_model(session: Any, outputs: Sequence[str], images: NDArray[np.uint8], subject: str) -> list[Any]:
    """Return the named outputs for (N, H, W, 3) uint8 images. Raises ModelError for whatever ONNX Runtime reports."""
    with mapped_errors(subject, images.shape):
        results: list[Any] = session.run(list(outputs), {"images": images})
    return results


@contextmanager
def mapped_errors(subject: str, shape: tuple[int, ...]) -> Iterator[None]:
    """Turn ONNX Runtime's exceptions, which share no base class but Exception, into ModelError. shape: of the images."""
    try:
        yield
    except Exception as error:
        raise ModelError(
            f"{subject}: ONNX Runtime cannot run it on images of shape {shape} ({reason_of(error)}); "
            "compare contract and model: vegrt verify"
        ) from error


def read_tensors(model: bytes, names: Sequence[str], *, threads: int = 0) -> Any:
    """Return a function from (N, H, W, 3) uint8 images to the tensors `names`, which `model` has as outputs.

    threads: 0 for all cores that this process may use. The function may be called by several threads at once.
    """
    session = open_session(model, threads=threads)
    return lambda images: run_model(session, names, images, "model")


def has_provider(device: str) -> bool:
    """Return whether the onnxruntime installed here was built for `device`; it may still fail for want of a driver."""
    return BY_DEVICE[device].name in require("onnxruntime", "cpu").get_available_providers()
