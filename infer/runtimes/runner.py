"""The one Protocol of the program: an artifact, loaded and callable."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import ModelError

Device = Literal["cpu", "cuda"]
RuntimeName = Literal["onnxruntime", "onnxruntime-tensorrt", "openvino", "tensorrt", "torch"]


class Runner(Protocol):
    """A loaded artifact.

    runtime: which library runs it; onnxruntime-tensorrt is ONNX Runtime with its TensorRT provider. device: where.
    """

    runtime: RuntimeName
    device: str

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images already resized by the contract."""
        ...


def checked_logits(found: Any, images: int, classes: int, subject: str) -> NDArray[np.float32]:
    """Return what a runtime answered as (N, K) float32 logits, N = images. classes: K; 0 where nobody knows it.

    Raises ModelError for another type, rank, number of rows or of columns. Whether the numbers are finite is the caller's to ask:
    one photo's overflow costs that photo only.
    """
    is_array = isinstance(found, np.ndarray)
    if is_array and found.dtype.kind == "f" and found.ndim == 2 and found.shape == (images, classes or found.shape[1]):
        result: NDArray[np.float32] = found.astype(np.float32, copy=False)
        return result
    kind = f"{found.dtype} {found.shape}" if is_array else type(found).__name__
    wanted = f"float32 ({images}, {classes or 'K'})"
    raise ModelError(
        f"{subject}: gives {kind} for {images} image(s); expected {wanted}, one score a class; export it again"
    )


def reason_of(error: Exception, line: int = 0) -> str:
    """Return one line of what a runtime's exception says, by default the first."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return f"{lines[line]:.300}" if lines else type(error).__name__
