"""OpenVINO on the CPU: runs the same ONNX files, often fastest without a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.manifest import IMPORTED_INT8
from vegrt.errors import ModelError
from vegrt.infer.runtimes.lanes import Lanes
from vegrt.infer.runtimes.onnx_file import InnerTensors
from vegrt.infer.runtimes.openvino.compiled import compile_model
from vegrt.infer.runtimes.openvino.lane import RequestLane
from vegrt.infer.runtimes.overlap import LanesRunner
from vegrt.infer.runtimes.runner import Answers, RuntimeName, answers_of, library_errors, output_names
from vegrt.machine import examine_machine


class OpenVinoRunner:
    """One ONNX model compiled by OpenVINO for the CPU. Not thread-safe. Contiguous images are read without a copy.

    inner: the inner tensors that the compiled model gives too; None without embeddings.
    """

    runtime: RuntimeName = "openvino"
    device = "cpu"

    def __init__(
        self, compiled: Any, *, subject: str = "model", classes: int = 0, inner: InnerTensors | None = None
    ) -> None:
        self._compiled, self._subject, self._classes = compiled, subject, classes
        self._outputs = output_names(inner)
        self._request = open_request(compiled, subject)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images. Raises ModelError when it cannot run on them."""
        return self.answers(images).logits

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        """Return logits, and embeddings where the runner was opened for them. Raises ModelError when it cannot run."""
        outputs = run_request(self._request, self._outputs, images, self._subject)
        return answers_of(outputs, len(images), self._classes, self._subject)


class StreamsRunner(LanesRunner):
    """One ONNX model compiled for throughput, without embeddings: a batch in each of OpenVINO's streams. Not thread-safe.

    lanes: number of batches at once, which OpenVINO chooses.
    """

    runtime: RuntimeName = "openvino"
    device = "cpu"

    def __init__(self, compiled: Any, *, subject: str = "model", classes: int = 0) -> None:
        with library_errors("OpenVINO", subject, "make its requests"):
            self.lanes: int = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            requests = [compiled.create_infer_request() for _ in range(self.lanes)]
            self._shape = compiled.inputs[0].get_partial_shape()
        lanes = [RequestLane(request, subject=subject, classes=classes) for request in requests]
        self._turns = Lanes(lanes, 0, columns=classes)

    def prepare(self, batch: int) -> None:
        """Run a batch of this size through every lane: a request adapts to a new shape when it first runs."""
        _, *pixels = self._shape
        if all(size.is_static for size in pixels):
            images = np.zeros((batch, *(size.get_length() for size in pixels)), np.uint8)
            for begun in [self.begin(images) for _ in range(self.lanes)]:
                self.finish(begun)


def open_openvino(
    model: Path | bytes,
    *,
    device: str = "cpu",
    threads: int = 0,
    in_float: bool = False,
    precision: str = "",
    classes: int = 0,
    inner: InnerTensors | None = None,
    throughput: bool = False,
    sha256: str = "",
) -> OpenVinoRunner | StreamsRunner:
    """Return a runner for an ONNX file; the options are those of `compile_model`. Raises ModelError when it cannot load.

    classes: number of scores per image that the model must give; 0 if unknown. inner: inner tensors to give too.
    throughput: for several batches at once; not with inner tensors.
    sha256: of the file, if the compiled model may be taken from the user's cache and kept there.
    """
    if device != "cpu":
        raise ModelError(f"openvino: device {device!r}; vegrt runs OpenVINO on the cpu only")
    subject = f"{model!s:.200}"
    compiled = compile_model(
        model,
        threads=threads,
        inner=inner,
        in_float=in_float,
        precision=precision,
        throughput=throughput,
        sha256=sha256,
    )
    with library_errors("OpenVINO", subject, "read its inputs and outputs"):
        names = [{name for port in ports for name in port.get_names()} for ports in (compiled.inputs, compiled.outputs)]
        shapes = [str(port.get_partial_shape()) for port in compiled.outputs if "logits" in port.get_names()]
        ranks = [port.get_partial_shape().rank for port in compiled.outputs if "logits" in port.get_names()]
    if len(compiled.inputs) != 1 or "images" not in names[0] or not shapes:
        raise ModelError(
            f"{subject}: takes {_listed(names[0])} and gives {_listed(names[1])}; expected images and logits"
        )
    if ranks[0].is_static and ranks[0].get_length() != 2:
        raise ModelError(
            f"{subject}: logits are {shapes[0]}; expected (N, {classes or 'K'}), one score per class; export it again"
        )
    if throughput and inner is None:
        return StreamsRunner(compiled, subject=subject, classes=classes)
    return OpenVinoRunner(compiled, subject=subject, classes=classes, inner=inner)


def open_request(compiled: Any, subject: str) -> Any:
    """Return an openvino.InferRequest. Raises ModelError."""
    with library_errors("OpenVINO", subject, "make a request"):
        return compiled.create_infer_request()


def run_request(request: Any, outputs: Sequence[str], images: NDArray[np.uint8], subject: str) -> list[NDArray[Any]]:
    """Return copies of the named outputs for (N, H, W, 3) uint8 images. Raises ModelError for whatever OpenVINO reports."""
    with library_errors("OpenVINO", subject, f"run it on images of shape {images.shape}"):
        results = request.infer({"images": images}, share_inputs=True)
        return [np.array(results[name]) for name in outputs]  # copies: the request reuses its output buffers


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def needs_float(variant: str) -> bool:
    """Return whether the kernels of this CPU would make garbage of a variant's 8-bit weights (decision 0003)."""
    return (variant == "int8" or variant.startswith(IMPORTED_INT8)) and examine_machine().cpu.saturates
