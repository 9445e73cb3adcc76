"""MNN on the CPU: computes 3x3 convolutions by Winograd's algorithm, which needs fewer multiplications.

It runs fp32.mnn, in float32 or, on a CPU that can, in float16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import ModelError, require
from vegrt.infer.runtimes.runner import Answers, RuntimeName, checked_logits, library_errors
from vegrt.machine import available_cores


class MnnRunner:
    """One MNN model on the CPU. Not thread-safe. Takes any number of images per call without loading the model again."""

    runtime: RuntimeName = "mnn"
    device = "cpu"

    def __init__(self, module: Any, *, subject: str = "model", classes: int = 0) -> None:
        self._module, self._subject, self._classes = module, subject, classes
        self._expressions = require("MNN.expr", "mnn")

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        """Return logits; MNN gives no embeddings. Raises ModelError when it cannot run."""
        return Answers(self.logits(images))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images. Raises ModelError when it cannot run on them."""
        with library_errors("MNN", self._subject, f"run it on images of shape {images.shape}"):
            # MNN takes an ONNX graph's input dimensions as they are and calls them NCHW, whatever their order.
            tensor = self._expressions.placeholder(list(images.shape), self._expressions.NCHW, self._expressions.uint8)
            tensor.write(np.ascontiguousarray(images))
            (output,) = self._module.forward([tensor])
            logits = np.array(output.read())  # a copy: MNN reuses its buffer
        return checked_logits(logits, len(images), self._classes, self._subject)


def open_mnn(file: Path, *, device: str = "cpu", threads: int = 0, half: bool = False, classes: int = 0) -> MnnRunner:
    """Return a runner for an MNN file whose input is `images` and whose output is `logits`. Raises ModelError.

    threads: 0 for all cores that this process may use. half: compute in float16 where the CPU has instructions for it (MNN
    computes in float32 where not). classes: number of scores per image that the model must give; 0 if unknown.
    """
    if device != "cpu":
        raise ModelError(f"mnn: device {device!r}; vegrt runs MNN on the cpu only")
    networks = require("MNN.nn", "mnn")
    with library_errors("MNN", str(file), "load it"):
        # precision high: float32 on every CPU; normal and low compute in float16 where the CPU can
        settings = {"backend": "CPU", "precision": "low" if half else "high", "numThread": threads or available_cores()}
        manager = networks.create_runtime_manager((settings,))
        # not rearrange=True: kernels would be chosen before the input's shape is known, and without it MNN does not take
        # Winograd's where they pay; VGG16 computed 1.5 times as long, ResNet18 1.3 times (MNN 3.6.1, Zen 4)
        module = networks.load_module_from_file(
            str(file), ["images"], ["logits"], runtime_manager=manager, shape_mutable=True
        )
    return MnnRunner(module, subject=str(file), classes=classes)
