"""MNN on the CPU: computes 3x3 convolutions by Winograd's algorithm, which needs fewer multiplications.

It runs fp32.mnn, in float32 or, on a CPU that can, in float16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import ModelError, require
from vegrt.infer.runtimes.onnx_file import InnerTensors
from vegrt.infer.runtimes.runner import Answers, RuntimeName, answers_of, library_errors
from vegrt.machine import available_cores


class MnnRunner:
    """One MNN model on the CPU. Not thread-safe. Takes any number of images per call without loading the model again.

    module: gives the logits, and then the embedding and the maps if the runner was opened for embeddings.
    """

    runtime: RuntimeName = "mnn"
    device = "cpu"

    def __init__(self, module: Any, *, subject: str = "model", classes: int = 0) -> None:
        self._module, self._subject, self._classes = module, subject, classes
        self._expressions = require("MNN.expr", "mnn")

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        """Return logits, and embeddings where the runner was opened for them. Raises ModelError when it cannot run."""
        with library_errors("MNN", self._subject, f"run it on images of shape {images.shape}"):
            # MNN takes an ONNX graph's input dimensions as they are and calls them NCHW, whatever their order.
            tensor = self._expressions.placeholder(list(images.shape), self._expressions.NCHW, self._expressions.uint8)
            tensor.write(np.ascontiguousarray(images))
            outputs = [self._read(output) for output in self._module.forward([tensor])]
        return answers_of(outputs, len(images), self._classes, self._subject)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images. Raises ModelError when it cannot run on them."""
        return self.answers(images).logits

    def _read(self, output: Any) -> NDArray[Any]:
        """Return a copy of an output, because MNN reuses its buffer; of maps, (N, C, h, w), their means."""
        if output.data_format == self._expressions.NC4HW4:  # its own order of channels
            output = self._expressions.convert(output, self._expressions.NCHW)
        numbers = np.array(output.read())
        return numbers.mean(axis=(2, 3)) if numbers.ndim == 4 else numbers


def kept_tensors(content: bytes, inner: InnerTensors) -> InnerTensors | None:
    """Return the inner tensors of an ONNX model that the MNN file made of it still has; None without the embedding.

    Names are strings of a flatbuffer: their length in four bytes, little-endian, their letters, and a zero.
    """

    def is_kept(name: str) -> bool:
        text = name.encode()
        return len(text).to_bytes(4, "little") + text + b"\0" in content

    if not is_kept(inner.embedding):
        return None
    return inner if is_kept(inner.maps) else InnerTensors(inner.embedding)


def open_mnn(
    file: Path,
    *,
    device: str = "cpu",
    threads: int = 0,
    half: bool = False,
    classes: int = 0,
    inner: InnerTensors | None = None,
) -> MnnRunner:
    """Return a runner for an MNN file whose input is `images` and whose output is `logits`. Raises ModelError.

    threads: 0 for all cores that this process may use. half: compute in float16 where the CPU has instructions for it (MNN
    computes in float32 where not). classes: number of scores per image that the model must give; 0 if unknown. inner: the inner
    tensors that the runner must give too.
    """
    if device != "cpu":
        raise ModelError(f"mnn: device {device!r}; vegrt runs MNN on the cpu only")
    networks = require("MNN.nn", "mnn")
    outputs = ["logits", *filter(None, (inner.embedding, inner.maps) if inner else ())]
    with library_errors("MNN", str(file), "load it"):
        # precision high: float32 on every CPU; normal and low compute in float16 where the CPU can
        settings = {"backend": "CPU", "precision": "low" if half else "high", "numThread": threads or available_cores()}
        manager = networks.create_runtime_manager((settings,))
        # not rearrange=True: kernels would be chosen before the input's shape is known, and without it MNN does not take
        # Winograd's where they pay; VGG16 computed 1.5 times as long, ResNet18 1.3 times (MNN 3.6.1, Zen 4)
        module = networks.load_module_from_file(
            str(file), ["images"], outputs, runtime_manager=manager, shape_mutable=True
        )
    return MnnRunner(module, subject=str(file), classes=classes)
