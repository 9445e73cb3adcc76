"""The one Protocol of the program: an artifact, loaded and callable."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

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
