"""A runner that also gives what the classifier reads, the penultimate layer, on ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.errors import ModelError, VegrtError
from vegrt.infer.runtimes.candidates import Candidate, is_float16
from vegrt.infer.runtimes.onnx_bytes import penultimate, with_output
from vegrt.infer.runtimes.onnxruntime import open_session, run_model
from vegrt.infer.runtimes.openvino import compile_model, needs_float, open_request, run_request
from vegrt.infer.runtimes.runner import Device, RuntimeName, checked_logits

Answers = tuple[NDArray[np.float32], NDArray[np.float32]]


class EmbeddingRunner:
    """A model that gives logits and embeddings. width: D, numbers per embedding."""

    def __init__(
        self, runtime: RuntimeName, device: str, run: Callable[[NDArray[np.uint8]], Answers], size: int
    ) -> None:
        self.runtime, self.device, self._run = runtime, device, run
        self.width = self.answers(np.zeros((1, size, size, 3), np.uint8))[1].shape[1]

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images."""
        return self.answers(images)[0]

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        """Return (N, K) float32 logits and (N, D) float32 embeddings; both belong to the caller."""
        logits, embeddings = self._run(images)
        return logits, embeddings.reshape(len(images), -1)


def open_embedding_runner(
    bundle: Bundle, candidate: Candidate, *, device: Device = "cpu", threads: int = 0
) -> EmbeddingRunner:
    """Return the candidate as a runner with embeddings. Raises VegrtError for runtimes and models that cannot give them."""
    if candidate.runtime not in ("onnxruntime", "openvino"):
        raise VegrtError(f"embeddings: {candidate.runtime} does not give them; add --runtime onnxruntime or openvino")
    file, classes = bundle.file("model", candidate.variant), len(bundle.manifest.classes)
    content = file.read_bytes()
    try:
        name = penultimate(content)
    except ModelError as error:
        raise ModelError(f"{file}: {str(error).removeprefix('model: ')}") from error
    if candidate.runtime == "openvino":
        compiled = compile_model(file, threads=threads, outputs=[name], in_float=needs_float(candidate.variant))
        run = _openvino(compiled, name, str(file), classes)
    else:
        float16 = is_float16(bundle, candidate.variant)
        session = open_session(with_output(content, name), float16=float16, device=device, threads=threads)
        run = _onnxruntime(session, name, str(file), classes)
    return EmbeddingRunner(candidate.runtime, device, run, bundle.manifest.contract.size)


def _onnxruntime(session: Any, name: str, subject: str, classes: int) -> Callable[[NDArray[np.uint8]], Answers]:
    def run(images: NDArray[np.uint8]) -> Answers:
        logits, embeddings = run_model(session, ["logits", name], images, subject)
        return checked_logits(logits, len(images), classes, subject), embeddings.astype(np.float32)

    return run


def _openvino(compiled: Any, name: str, subject: str, classes: int) -> Callable[[NDArray[np.uint8]], Answers]:
    request = open_request(compiled, subject)

    def run(images: NDArray[np.uint8]) -> Answers:
        logits, embeddings = run_request(request, ["logits", name], images, subject)
        return checked_logits(logits, len(images), classes, subject), embeddings.astype(np.float32)

    return run
