"""An ONNX model in ONNX Runtime, as a runner."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import ModelError, reason_of
from vegrt.infer.runtimes.cuda.runtime import Cuda, load_cudart
from vegrt.infer.runtimes.lanes import Lanes
from vegrt.infer.runtimes.onnx_file import InnerTensors
from vegrt.infer.runtimes.onnxruntime.lane import BoundLane
from vegrt.infer.runtimes.onnxruntime.plugin import PluginModel, PluginProvider, open_plugin_session
from vegrt.infer.runtimes.onnxruntime.providers import CPU, TensorRtProvider
from vegrt.infer.runtimes.onnxruntime.session import disabled_optimizers, open_session, run_model
from vegrt.infer.runtimes.overlap import LanesRunner
from vegrt.infer.runtimes.runner import Answers, RuntimeName, answers_of, output_names

LANES = 2
_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")


@dataclass(frozen=True, slots=True)
class ExpectedOutputs:
    """What a session must give.

    subject: the model's name in messages. classes: number of scores per image; 0 if unknown. inner: the inner tensors that are
    outputs too; None without embeddings.
    """

    subject: str = "model"
    classes: int = 0
    inner: InnerTensors | None = None


class OnnxRuntimeRunner:
    """One ONNX model in ONNX Runtime, called batch by batch."""

    runtime: RuntimeName = "onnxruntime"

    def __init__(self, session: Any, device: str, *, expected: ExpectedOutputs | None = None) -> None:
        self.device = device
        self._session = session
        self._expected = expected or ExpectedOutputs()

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images. Raises ModelError when it cannot run on them."""
        return self.answers(images).logits

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        """Return logits, and embeddings where the runner was opened for them. Raises ModelError when it cannot run."""
        expected = self._expected
        outputs = run_model(self._session, output_names(expected.inner), images, expected.subject)
        return answers_of(outputs, len(images), expected.classes, expected.subject)


class BoundRunner(LanesRunner):
    """One ONNX model on a GPU, without embeddings: LANES batches at once, through bindings that stay. Not thread-safe.

    cuda: None for a session on the CPU. largest: largest batch of the session; 0 for any. `close` frees its buffers, and so does
    the garbage collector.
    """

    lanes = LANES

    def __init__(
        self,
        session: Any,
        cuda: Cuda | None,
        *,
        runtime: RuntimeName = "onnxruntime",
        largest: int = 0,
        expected: ExpectedOutputs | None = None,
    ) -> None:
        self.runtime: RuntimeName = runtime
        self.device = "cuda" if cuda else "cpu"
        self._session = session
        expected = expected or ExpectedOutputs()
        pool = ThreadPoolExecutor(LANES, thread_name_prefix="onnxruntime")
        self._release = weakref.finalize(self, _release, pool, cuda)  # also when a lane below cannot be made
        self._turns = Lanes(
            [BoundLane(session, pool, cuda, subject=expected.subject, classes=expected.classes) for _ in range(LANES)],
            largest,
            columns=expected.classes,
        )

    def prepare(self, batch: int) -> None:
        """Run a batch of this size through every lane: CUDA's libraries and the TensorRT provider put off work to it."""
        _, *pixels = self._session.get_inputs()[0].shape
        if all(isinstance(size, int) for size in pixels):
            for _ in range(LANES):
                self.answers(np.zeros((batch, *pixels), np.uint8))

    def close(self) -> None:
        """Free its buffers. May be called again; the runner cannot be used afterwards."""
        self._release()


def _release(pool: ThreadPoolExecutor, cuda: Cuda | None) -> None:
    pool.shutdown(wait=True)
    if cuda is not None:
        cuda.close()


def open_onnxruntime(
    model: Path | bytes,
    *,
    float16: bool = False,
    in_float: bool = False,
    device: str = "cpu",
    threads: int = 0,
    tensorrt: TensorRtProvider | None = None,
    classes: int = 0,
    subject: str = "",
    inner: InnerTensors | None = None,
) -> OnnxRuntimeRunner | BoundRunner:
    """Return a runner for an ONNX file or its bytes on `device` (cpu or cuda), or by the TensorRT provider.

    float16: whether the model's scales are float16. in_float: see open_session. threads: 0 for all cores that this process may
    use. classes: number of scores per image that the model must give; 0 if unknown. subject: the model's name in messages; empty
    for its path. inner: the inner tensors that the model was given as outputs; None without embeddings. Raises as `open_session`,
    and ModelError for a model of other inputs and outputs.
    """
    session = open_session(model, float16=float16, in_float=in_float, device=device, threads=threads, tensorrt=tensorrt)
    expected = ExpectedOutputs(subject or (str(model) if isinstance(model, Path) else "model"), classes, inner)
    _check_interface(session, expected)
    if tensorrt:
        runtime: RuntimeName = "onnxruntime-tensorrt"
        return BoundRunner(session, Cuda(load_cudart()), runtime=runtime, largest=tensorrt.largest, expected=expected)
    if device == "cuda" and inner is None:
        return BoundRunner(session, Cuda(load_cudart()), expected=expected)
    return OnnxRuntimeRunner(session, device, expected=expected)


def open_plugin(
    file: PluginModel,
    provider: PluginProvider,
    *,
    float16: bool = False,
    threads: int = 0,
    classes: int = 0,
    inner: InnerTensors | None = None,
) -> OnnxRuntimeRunner:
    """Return a runner on a plug-in provider; the arguments are those of `open_onnxruntime`. Raises as `open_plugin_session`."""
    disabled = disabled_optimizers(CPU, float16=float16)
    session = open_plugin_session(file, provider, disabled=disabled, threads=threads)
    expected = ExpectedOutputs(file.subject, classes, inner)
    _check_interface(session, expected)
    return OnnxRuntimeRunner(session, "cpu", expected=expected)


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
