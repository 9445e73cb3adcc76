"""A lane of a model that is compiled for throughput: a request that runs while others do, and a buffer for its images."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.runtimes.runner import checked_logits, library_errors


class RequestLane:
    """Works on one batch at a time, in a stream of OpenVINO's. classes: number of scores per image; 0 if unknown."""

    def __init__(self, request: Any, *, subject: str, classes: int) -> None:
        self._request, self._subject, self._classes = request, subject, classes
        self._pixels: NDArray[np.uint8] = np.empty((0, 0, 0, 3), np.uint8)

    def begin(self, images: NDArray[np.uint8]) -> None:
        """Begin to compute a batch of any size. The images are copied before this returns. Raises ModelError."""
        if len(images) > len(self._pixels) or images.shape[1:] != self._pixels.shape[1:]:
            self._pixels = np.empty_like(images, order="C")
        pixels = self._pixels[: len(images)]
        pixels[:] = images
        with library_errors("OpenVINO", self._subject, f"run it on images of shape {images.shape}"):
            self._request.start_async({"images": pixels}, share_inputs=True)

    def finish(self, count: int) -> NDArray[np.float32]:
        """Return the (N, K) logits of what was begun, N = count. Raises ModelError."""
        with library_errors("OpenVINO", self._subject, f"run it on {count} images"):
            self._request.wait()
            logits = self._request.get_tensor("logits").data
        return checked_logits(logits, count, self._classes, self._subject)

    def settle(self) -> None:
        """Wait until nothing is in progress, and ignore a failure."""
        with suppress(Exception):
            self._request.wait()
