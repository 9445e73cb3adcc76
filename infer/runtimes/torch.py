"""The torch runner: the checkpoint itself, as the oracle that every artifact is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.errors import ModelError, VegrtError, reason_of, require
from vegrt.infer.runtimes.runner import Answers, RuntimeName
from vegrt.machine import available_cores


class TorchRunner:
    """A bundle's checkpoint, float32, in eval mode."""

    runtime: RuntimeName = "torch"

    def __init__(self, bundle: Bundle, *, device: str = "cpu", threads: int = 0) -> None:
        torch = require("torch", "train")
        require("torchvision", "train")
        from vegrt.networks import WithPreprocessing, load_network

        if device == "cuda" and not torch.cuda.is_available():
            raise VegrtError("torch: cuda was asked for and is not available here; leave --device out")
        torch.set_num_threads(threads or available_cores())
        self.device = device
        self._torch = torch
        self._network = WithPreprocessing(load_network(bundle), bundle.manifest.contract).eval().to(device)

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        """Return logits; the checkpoint gives no embeddings."""
        return Answers(self.logits(images))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images."""
        try:
            with self._torch.inference_mode():
                given = self._torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
                result: NDArray[np.float32] = self._network(given).cpu().numpy()
                return result
        except RuntimeError as error:  # images too small for the network, or no memory
            raise ModelError(f"torch: cannot run it on images of shape {images.shape} ({reason_of(error)})") from error
