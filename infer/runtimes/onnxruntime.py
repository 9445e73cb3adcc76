"""ONNX Runtime: an ONNX model as a runner, and a float model with its inner tensors exposed for calibration.

The provider asked for runs every node of the model, or opening it is an error: ONNX Runtime itself would go on with the CPU in
silence. What concerns GPUs has not yet run on hardware: see README, What has not been run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import MissingExtraError, ModelError, VegrtError, require
from vegrt.infer.runtimes.lanes import parts
from vegrt.infer.runtimes.runner import RuntimeName, checked_logits, reason_of
from vegrt.machine import available_cores

# This pass turns int8 models with float16 scales into garbage on the CPU provider (1.31, 1.32). With float32 scales it is
# right, and needed: it quantizes the bias, without which no convolution becomes an 8-bit one.
_BROKEN_FOR_FLOAT16 = ["WeightBiasQuantization"]
_CPU = "CPUExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
_PROVIDERS = {"cpu": _CPU, "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True, slots=True)
class TensorRtProvider:
    """How ONNX Runtime's TensorRT provider builds its engine, when the first batch comes.

    size: height and width of the images. int8: whether the model has QuantizeLinear nodes. cache: the folder that keeps the
    engine, one per model, because the provider's own key does not cover the weights. largest: batch that the engine takes.
    """

    size: int
    int8: bool
    cache: Path
    tuned: int = 8
    largest: int = 32

    def options(self, *, float16: bool) -> dict[str, str]:
        """Return the provider's options (onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider)."""
        shapes = zip(("min", "opt", "max"), (1, self.tuned, self.largest), strict=True)
        return {
            **{f"trt_profile_{name}_shapes": f"images:{count}x{self.size}x{self.size}x3" for name, count in shapes},
            "trt_fp16_enable": str(int(float16)),
            "trt_int8_enable": str(int(self.int8)),
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(self.cache),
        }


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a session is of. subject: what messages call it. classes: how many scores it has to give; 0 where nobody knows."""

    subject: str = "model"
    classes: int = 0


class OnnxRuntimeRunner:
    """One ONNX model in ONNX Runtime. On a GPU it is not thread-safe: the input's buffer there is kept from call to call.

    largest: batch that the session takes at once; 0 for any. bound: whether inputs are copied to `device` by us.
    """

    def __init__(
        self,
        session: Any,
        device: str,
        *,
        runtime: RuntimeName = "onnxruntime",
        largest: int = 0,
        bound: bool = False,
        expected: ModelFacts | None = None,
    ) -> None:
        self.runtime: RuntimeName = runtime
        self.device = device
        self._session = session
        self._largest = largest
        self._expected = expected or ModelFacts()
        self._call = self._run_bound if bound else self._run
        self._given: Any = None

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images. Raises ModelError when it cannot run on them."""
        if not self._largest or len(images) <= self._largest:
            return self._call(images)
        return np.concatenate([self._call(images[part]) for part in parts(len(images), self._largest)])

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = run_model(self._session, ["logits"], images, self._expected.subject)[0]
        return checked_logits(found, len(images), self._expected.classes, self._expected.subject)

    def _run_bound(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Copy to the device, run there, copy back: nothing else is copied, and the input's buffer stays where it is."""
        images = np.ascontiguousarray(images)
        if self._given is None or tuple(self._given.shape()) != images.shape:
            value = require("onnxruntime", "gpu").OrtValue
            self._given = value.ortvalue_from_shape_and_type(list(images.shape), np.uint8, self.device, 0)
        subject = self._expected.subject
        with _mapped(subject, images):
            self._given.update_inplace(images)
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("images", self._given)
            binding.bind_output("logits", self.device)
            self._session.run_with_iobinding(binding)
            found = binding.copy_outputs_to_cpu()[0]
        return checked_logits(found, len(images), self._expected.classes, subject)


def open_onnxruntime(
    model: Path | bytes,
    *,
    float16: bool = False,
    device: str = "cpu",
    threads: int = 0,
    tensorrt: TensorRtProvider | None = None,
    classes: int = 0,
) -> OnnxRuntimeRunner:
    """Return a runner for an ONNX file or its bytes on `device` (cpu or cuda), or by the TensorRT provider.

    float16: whether the model's scales are float16. threads: 0 for all cores allowed to us. classes: how many scores it has to
    give; 0 where nobody knows. Raises VegrtError when the provider asked for is not what the session really uses, ModelError for
    a model of other inputs and outputs.
    """
    session = open_session(model, float16=float16, device=device, threads=threads, tensorrt=tensorrt)
    wanted = _TENSORRT if tensorrt else _PROVIDERS[device]
    if (used := session.get_providers()[0]) != wanted:
        raise VegrtError(f"onnxruntime: {wanted} was asked for, {used} would run; check the driver: vegrt doctor")
    expected = ModelFacts(str(model) if isinstance(model, Path) else "model", classes)
    _check_interface(session, expected)
    if tensorrt:
        return OnnxRuntimeRunner(
            session, "cuda", runtime="onnxruntime-tensorrt", largest=tensorrt.largest, bound=True, expected=expected
        )
    return OnnxRuntimeRunner(session, device, bound=device != "cpu", expected=expected)


def _check_interface(session: Any, expected: ModelFacts) -> None:
    """Raise ModelError when what a session declares is no classifier of uint8 images; what it leaves open a run will show."""
    try:
        taken, given = session.get_inputs(), {value.name: value for value in session.get_outputs()}
        names = [", ".join(value.name for value in taken), ", ".join(given)]
        logits = given.get("logits")
        shape, kind = (list(logits.shape), logits.type) if logits else ([], "")
    except Exception as error:  # names that are not UTF-8, for one
        raise ModelError(
            f"{expected.subject}: its inputs cannot be read ({reason_of(error)}); export it again"
        ) from error
    if names[0] != "images" or logits is None:
        raise ModelError(f"{expected.subject}: takes {names[0]} and gives {names[1]}; expected images and logits")
    columns = shape[1] if len(shape) == 2 else 0  # a text where the size is open
    wrong = shape and (
        len(shape) != 2 or (expected.classes and isinstance(columns, int) and columns != expected.classes)
    )
    if wrong or kind not in _FLOATS:
        wanted = f"tensor(float) (N, {expected.classes or 'K'})"
        raise ModelError(
            f"{expected.subject}: logits are {kind} {shape}; expected {wanted}, one score a class; export it again"
        )


def run_model(session: Any, outputs: Sequence[str], images: NDArray[np.uint8], subject: str) -> list[Any]:
    """Return the named outputs for (N, H, W, 3) uint8 images. Raises ModelError for whatever ONNX Runtime reports."""
    with _mapped(subject, images):
        found: list[Any] = session.run(list(outputs), {"images": images})
    return found


@contextmanager
def _mapped(subject: str, images: NDArray[np.uint8]) -> Iterator[None]:
    """Turn ONNX Runtime's exceptions, which share no base class but Exception, into ModelError."""
    try:
        yield
    except Exception as error:
        where = f"on images of shape {images.shape}"
        raise ModelError(
            f"{subject}: ONNX Runtime cannot run it {where} ({reason_of(error)}); compare contract and model: vegrt verify"
        ) from error


def open_session(
    model: Path | bytes,
    *,
    float16: bool = False,
    device: str = "cpu",
    threads: int = 0,
    tensorrt: TensorRtProvider | None = None,
) -> Any:
    """Return an onnxruntime.InferenceSession. Raises ModelError when the file is no model that it can load."""
    ort = require("onnxruntime", "gpu" if device == "cuda" or tensorrt else "cpu")
    if device not in _PROVIDERS:
        raise VegrtError(f"onnxruntime: unknown device {device!r}; expected one of {', '.join(_PROVIDERS)}")
    provider = _TENSORRT if tensorrt else _PROVIDERS[device]
    _check_provider(ort, provider)
    if tensorrt:
        make_cache(tensorrt.cache)
    ort.set_default_logger_severity(3)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.log_severity_level = 3
    # Its threads would wait by spinning, on the cores that decode threads need: files to CSV was a third slower so.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider != _CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        return ort.InferenceSession(
            str(model) if isinstance(model, Path) else model,
            options,
            providers=[(provider, tensorrt.options(float16=float16)) if tensorrt else provider],
            disabled_optimizers=_BROKEN_FOR_FLOAT16 if float16 else None,
        )
    except Exception as error:  # its exceptions share no base class but Exception
        subject = model if isinstance(model, Path) else "model"
        where = "" if provider == _CPU else f" with {provider}"
        raise ModelError(f"{subject}: ONNX Runtime cannot load it{where} ({reason_of(error)})") from error


def read_tensors(model: bytes, names: Sequence[str]) -> Any:
    """Return a function from (N, H, W, 3) uint8 images to the tensors `names`, which `model` has as outputs."""
    session = open_session(model)
    return lambda images: run_model(session, names, images, "model")


def has_provider(device: str) -> bool:
    """Return whether the onnxruntime installed here was built for `device`; it may still fail for want of a driver."""
    return _PROVIDERS[device] in require("onnxruntime", "cpu").get_available_providers()


def make_cache(cache: Path) -> None:
    """Make the folder for engines. Raises VegrtError where it cannot be made."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VegrtError(
            f"{cache}: engines cannot be kept there ({error.strerror}); set XDG_CACHE_HOME to a folder that can be written"
        ) from error


def _check_provider(ort: Any, provider: str) -> None:
    """Raise MissingExtraError when onnxruntime was built without it: it would only warn, and run on the CPU."""
    if provider not in (have := ort.get_available_providers()):
        raise MissingExtraError(
            f"onnxruntime: {provider} was asked for, this build has {', '.join(have)}; "
            "pip uninstall onnxruntime, then pip install 'vegrt[gpu]'"
        )
