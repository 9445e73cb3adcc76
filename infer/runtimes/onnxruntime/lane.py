"""A lane of a session on a GPU: a binding for each batch size, buffers that stay, and a thread that waits for the result.

On the CPU the same runs without copies, which is how it is tested. The GPU part has not yet run on hardware: see docs/gpu.md.
"""

from __future__ import annotations

from concurrent.futures import Executor, Future, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.runtimes.cuda.runtime import Cuda
from vegrt.infer.runtimes.onnxruntime.session import mapped_errors
from vegrt.infer.runtimes.runner import checked_logits


class BoundLane:
    """Works on one batch at a time, in a thread of `pool`.

    Images go through a buffer in page-locked memory to one on the device, both of which are kept and bound: ONNX Runtime's own
    way copies from pageable memory, and a binding of host memory would copy once, when it is bound. cuda: None for a session on
    the CPU, which reads the first buffer. classes: number of scores per image; 0 if unknown.
    """

    def __init__(self, session: Any, pool: Executor, cuda: Cuda | None, *, subject: str, classes: int) -> None:
        self._session, self._pool, self._cuda = session, pool, cuda
        self._subject, self._classes = subject, classes
        self._stream = cuda.stream() if cuda else None
        self._pixels: NDArray[np.uint8] = np.empty((0, 0, 0, 3), np.uint8)
        self._address = 0  # of the buffer that is bound
        self._bindings: dict[int, Any] = {}  # by batch size
        self._running: Future[NDArray[np.float32]] | None = None

    def begin(self, images: NDArray[np.uint8]) -> None:
        """Begin to compute a batch of any size. The images are copied before this returns."""
        count = len(images)
        if count > len(self._pixels) or images.shape[1:] != self._pixels.shape[1:]:
            self._make_buffers(images.shape)
        self._pixels[:count] = images
        self._running = self._pool.submit(self._run, count)

    def finish(self, count: int) -> NDArray[np.float32]:
        """Return the (N, K) logits of what was begun, N = count. Raises ModelError or EngineError."""
        assert self._running is not None, "finish follows begin"
        return self._running.result()

    def settle(self) -> None:
        """Wait until nothing is in progress, and ignore a failure."""
        if self._running is not None:
            wait([self._running])

    def _make_buffers(self, shape: tuple[int, ...]) -> None:
        """Make buffers for batches of this shape. They double: older ones, which stay until the end, are no more in sum."""
        if shape[1:] == self._pixels.shape[1:]:
            shape = (max(shape[0], 2 * len(self._pixels)), *shape[1:])
        self._bindings.clear()
        if self._cuda is None:
            self._pixels = np.empty(shape, np.uint8)
            self._address = self._pixels.ctypes.data
        else:
            self._pixels = self._cuda.pinned(shape, np.uint8)
            self._address = self._cuda.device_buffer(self._pixels.nbytes)

    def _run(self, count: int) -> NDArray[np.float32]:
        images = self._pixels[:count]
        if self._cuda is not None:
            self._cuda.upload(self._address, images, self._stream)
            self._cuda.wait(self._stream)
        with mapped_errors(self._subject, images.shape):
            binding = self._binding(images.shape)
            self._session.run_with_iobinding(binding)
            output = binding.copy_outputs_to_cpu()[0]
        return checked_logits(output, count, self._classes, self._subject)

    def _binding(self, shape: tuple[int, ...]) -> Any:
        binding = self._bindings.get(shape[0])
        if binding is None:
            binding = self._session.io_binding()
            device = "cuda" if self._cuda else "cpu"
            binding.bind_input("images", device, 0, np.uint8, list(shape), self._address)
            binding.bind_output("logits", "cpu")
            self._bindings[shape[0]] = binding
        return binding
