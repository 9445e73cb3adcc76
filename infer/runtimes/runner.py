"""The interface of all runners: an artifact, loaded and callable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import ModelError, reason_of
from vegrt.infer.runtimes.lanes import Begun
from vegrt.infer.runtimes.onnx_file import INTERMEDIATE, InnerTensors

Device = Literal["cpu", "cuda"]
RuntimeName = Literal["mnn", "onnxruntime", "onnxruntime-tensorrt", "openvino", "tensorrt", "torch"]


class Runner(Protocol):
    """A loaded artifact.

    runtime: which library runs it; onnxruntime-tensorrt is ONNX Runtime with its TensorRT provider. device: where.
    """

    runtime: RuntimeName
    device: str

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images already resized by the contract."""
        ...


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model answers for N images. logits: (N, K) float32. embeddings: (N, D) float32, the penultimate layer, or None.

    intermediate: (N, C) float32, the means of the feature maps before the last downsampling; None without embeddings, and for a
    network that has no such maps. The arrays belong to the caller: the next call does not overwrite them.
    """

    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32] | None = None
    intermediate: NDArray[np.float32] | None = None

    @property
    def layers(self) -> tuple[NDArray[np.float32], ...]:
        """Return the inner layers that it has: the embeddings, and then the intermediate one."""
        return tuple(layer for layer in (self.embeddings, self.intermediate) if layer is not None)

    @property
    def parts(self) -> tuple[int, ...]:
        """Return the numbers of each inner layer, (D, C), (D,) or none."""
        return tuple(layer.shape[1] for layer in self.layers)

    def features(self, parts: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the layers of these parts side by side: the embeddings, or (N, D + C) of both.

        Raises ModelError where the layers have other numbers: trust.json is of another network.
        """
        if not parts or self.parts[: len(parts)] != parts:
            known, given = (" + ".join(map(str, each)) or "no" for each in (parts, self.parts))
            raise ModelError(f"model: gives {given} features, but trust.json knows {known}; repeat vegrt trust")
        return self.layers[0] if len(parts) == 1 else np.concatenate(self.layers, axis=1)


class BundleRunner(Runner, Protocol):
    """A runner of one of a bundle's artifacts; it gives embeddings too where it was opened for them."""

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        """Return logits, and embeddings where the runner was opened for them, for (N, H, W, 3) uint8 RGB images."""
        ...


@runtime_checkable
class OverlappingRunner(BundleRunner, Protocol):
    """A runner that works on several batches at once; `answers(images)` is `finish(begin(images))`.

    lanes: number of batches that can be in progress.
    """

    lanes: int

    def begin(self, images: NDArray[np.uint8]) -> Begun:
        """Begin to answer (N, H, W, 3) uint8 RGB images; they are copied before this returns. Waits while all lanes are busy."""
        ...

    def finish(self, begun: Begun) -> Answers:
        """Return the answers to what was begun, first begun first finished."""
        ...

    def prepare(self, batch: int) -> None:
        """Do now what the first calls with batches of this size would do, so that it is not timed with a later one."""
        ...


def prepare_runner(runner: Runner, batch: int) -> None:
    """Let a runner prepare itself for batches of this size, where it has anything to prepare: call it before timing."""
    if isinstance(runner, OverlappingRunner):
        runner.prepare(batch)


def checked_logits(output: Any, images: int, classes: int, subject: str) -> NDArray[np.float32]:
    """Return a runtime's output as (N, K) float32 logits, N = images. classes: K; 0 if unknown.

    Raises ModelError for another type, rank, number of rows or of columns. The caller checks whether the numbers are finite: an
    overflow in one photo must not fail the others.
    """
    is_array = isinstance(output, np.ndarray)
    if (
        is_array
        and output.dtype.kind == "f"
        and output.ndim == 2
        and output.shape == (images, classes or output.shape[1])
    ):
        result: NDArray[np.float32] = output.astype(np.float32, copy=False)
        return result
    kind = f"{output.dtype} {output.shape}" if is_array else type(output).__name__
    expected = f"float32 ({images}, {classes or 'K'})"
    raise ModelError(
        f"{subject}: gives {kind} for {images} image(s); expected {expected}, one score per class; export it again"
    )


def output_names(inner: InnerTensors | None) -> list[str]:
    """Return the names of the outputs that `answers_of` takes, of a model with these inner tensors as outputs; None: without."""
    if inner is None:
        return ["logits"]
    return ["logits", inner.embedding, *([INTERMEDIATE] if inner.maps else [])]


def answers_of(outputs: Sequence[NDArray[Any]], images: int, classes: int, subject: str) -> Answers:
    """Return a runtime's outputs for N = images, in the order of `output_names`, as Answers. Raises as `checked_logits`."""
    logits, *inner = outputs
    rows = [output.astype(np.float32).reshape(images, -1) for output in inner]
    return Answers(checked_logits(logits, images, classes, subject), *rows)


@contextmanager
def library_errors(library: str, subject: str, action: str) -> Iterator[None]:
    """Turn whatever a runtime's library raises into ModelError. action: what it cannot do."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, SystemError) and isinstance(error.__cause__, Exception) else error
        raise ModelError(
            f"{subject}: {library} cannot {action} ({reason_of(cause, -1)}); export the bundle again"
        ) from error
