"""ONNX Runtime: an ONNX model as a runner, and a float model with its inner tensors exposed for calibration.

The provider asked for runs every node of the model, or opening it is an error: ONNX Runtime itself would silently fall back to
the CPU. The GPU parts have not yet run on hardware: see README, What has not been run.
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
from vegrt.infer.runtimes.runner import Answers, RuntimeName, checked_embeddings, checked_logits, reason_of
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
class ExpectedOutputs:
    """What a session must give.

    subject: the model's name in messages. classes: number of scores per image; 0 if unknown. embedding: name of the second
    output, the penultimate layer; empty without embeddings.
    """

    subject: str = "model"
    classes: int = 0
    embedding: str = ""


class OnnxRuntimeRunner:
    """One ONNX model in ONNX Runtime. On a GPU it is not thread-safe: the input's buffer there is kept from call to call.

    largest: largest batch of the session; 0 for any. bound: whether the runner copies inputs to `device` itself; only without
    embeddings.
    """

    def __init__(
        self,
        session: Any,
        device: str,
        *,
        runtime: RuntimeName = "onnxruntime",
        largest: int = 0,
        bound: bool = False,
        expected: ExpectedOutputs | None = None,
    ) -> None:
        self.runtime: RuntimeName = runtime
        self.device = device
        self._session = session
        self._largest = largest
        self._expected = expected or ExpectedOutputs()
        self._call = self._run_bound if bound else self._run
        self._input: Any = None

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images. Raises ModelError when it cannot run on them."""
        return self.answers(images).logits

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        """Return logits, and embeddings where the runner was opened for them. Raises ModelError when it cannot run."""
        if not self._largest or len(images) <= self._largest:
            return self._call(images)
        return Answers(np.concatenate([self._call(images[part]).logits for part in parts(len(images), self._largest)]))

    def _run(self, images: NDArray[np.uint8]) -> Answers:
        names = ["logits", self._expected.embedding] if self._expected.embedding else ["logits"]
        logits, *others = run_model(self._session, names, images, self._expected.subject)
        embeddings = checked_embeddings(others[0], len(images)) if others else None
        return Answers(self._checked(logits, len(images)), embeddings)

    def _checked(self, output: Any, images: int) -> NDArray[np.float32]:
        return checked_logits(output, images, self._expected.classes, self._expected.subject)

    def _run_bound(self, images: NDArray[np.uint8]) -> Answers:
        """Copy to the device, run there, copy back: nothing else is copied, and the input's buffer stays where it is."""
        images = np.ascontiguousarray(images)
        if self._input is None or tuple(self._input.shape()) != images.shape:
            value = require("onnxruntime", "gpu").OrtValue
            self._input = value.ortvalue_from_shape_and_type(list(images.shape), np.uint8, self.device, 0)
        subject = self._expected.subject
        with _mapped(subject, images):
            self._input.update_inplace(images)
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("images", self._input)
            binding.bind_output("logits", self.device)
            self._session.run_with_iobinding(binding)
            output = binding.copy_outputs_to_cpu()[0]
        return Answers(self._checked(output, len(images)))


def open_onnxruntime(
    model: Path | bytes,
    *,
    float16: bool = False,
    device: str = "cpu",
    threads: int = 0,
    tensorrt: TensorRtProvider | None = None,
    classes: int = 0,
    subject: str = "",
    embedding: str = "",
) -> OnnxRuntimeRunner:
    """Return a runner for an ONNX file or its bytes on `device` (cpu or cuda), or by the TensorRT provider.

    float16: whether the model's scales are float16. threads: 0 for all cores that this process may use. classes: number of
    scores per image that the model must give; 0 if unknown. subject: the model's name in messages; empty for its path.
    embedding: name of the model's second output; empty without embeddings. Raises VegrtError when the session uses another
    provider than the one asked for, ModelError for a model of other inputs and outputs.
    """
    session = open_session(model, float16=float16, device=device, threads=threads, tensorrt=tensorrt)
    provider = _TENSORRT if tensorrt else _PROVIDERS[device]
    if (used := session.get_providers()[0]) != provider:
        raise VegrtError(f"onnxruntime: {provider} was asked for, {used} would run; check the driver: vegrt doctor")
    expected = ExpectedOutputs(subject or (str(model) if isinstance(model, Path) else "model"), classes, embedding)
    _check_interface(session, expected)
    if tensorrt:
        return OnnxRuntimeRunner(
            session, "cuda", runtime="onnxruntime-tensorrt", largest=tensorrt.largest, bound=True, expected=expected
        )
    return OnnxRuntimeRunner(session, device, bound=device != "cpu" and not embedding, expected=expected)


def _check_interface(session: Any, expected: ExpectedOutputs) -> None:
    """Raise ModelError unless a session declares itself a classifier of uint8 images. Open sizes are checked when it runs."""
    try:
        inputs, outputs = session.get_inputs(), {value.name: value for value in session.get_outputs()}
        names = [", ".join(value.name for value in inputs), ", ".join(outputs)]
        logits = outputs.get("logits")
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
        shapes = f"tensor(float) (N, {expected.classes or 'K'})"
        raise ModelError(
            f"{expected.subject}: logits are {kind} {shape}; expected {shapes}, one score per class; export it again"
        )


def run_model(session: Any, outputs: Sequence[str], images: NDArray[np.uint8], subject: str) -> list[Any]:
    """Return the named outputs for (N, H, W, 3) uint8 images. Raises ModelError for whatever ONNX Runtime reports."""
    with _mapped(subject, images):
        results: list[Any] = session.run(list(outputs), {"images": images})
    return results


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
