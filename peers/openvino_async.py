"""OpenVINO as in its own sample classification_sample_async: PrePostProcessor, compile_model and an AsyncInferQueue.

Kinds: float32 with the hint THROUGHPUT or LATENCY; the precision that OpenVINO takes by default, bfloat16 on CPUs with such
instructions; and the 8-bit model that nncf.quantize makes with its defaults.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peer import Job, Peer, run_peer


class OpenVinoPeer(Peer):
    """A model compiled with a hint for throughput."""

    name = "OpenVINO fp32"
    hint = "THROUGHPUT"
    settings: dict[str, str] = {"INFERENCE_PRECISION_HINT": "f32"}  # noqa: RUF012
    product = "openvino"

    def __init__(self, job: Job) -> None:
        import openvino

        super().__init__(job)
        self.core = openvino.Core()
        self.queue = lru_cache(maxsize=2)(self.compile)
        self.queue(1)

    @classmethod
    def prepare(cls, job: Job) -> None:
        import openvino  # noqa: F401

        job.product("openvino", lambda folder: convert(job, folder / "model.xml"))

    def compile(self, size: int) -> Any:
        """Return a queue of requests, each for `size` photos."""
        import openvino

        model, side = self.core.read_model(self.job.work / self.product / "model.xml"), self.job.contract["size"]
        model.reshape([size, side, side, 3])
        compiled = self.core.compile_model(model, "CPU", {"PERFORMANCE_HINT": self.hint, **self.settings})
        return openvino.AsyncInferQueue(compiled)

    def answers(self, batches: Iterable[Any], size: int) -> NDArray[np.float32]:
        queue, rows = self.queue(size), {}

        def keep(request: Any, index: int) -> None:
            rows[index] = request.get_output_tensor(0).data.copy()

        queue.set_callback(keep)
        counts = []
        for index, batch in enumerate(batches):
            counts.append(len(batch))
            padding = [(0, size - len(batch)), (0, 0), (0, 0), (0, 0)]
            queue.start_async({0: batch if len(batch) == size else np.pad(batch, padding)}, index)
        queue.wait_all()
        return np.concatenate([rows[index][:count] for index, count in enumerate(counts)])


class LatencyPeer(OpenVinoPeer):
    """The same with a hint for latency: one request on all cores."""

    name = "OpenVINO fp32, hint LATENCY"
    hint = "LATENCY"


class DefaultPrecisionPeer(OpenVinoPeer):
    """The same in the precision that OpenVINO chooses."""

    name = "OpenVINO, its default precision"
    settings: dict[str, str] = {}  # noqa: RUF012


class Int8Peer(DefaultPrecisionPeer):
    """The same with NNCF's 8-bit model."""

    name = "OpenVINO int8, NNCF"
    product = "openvino-int8"

    @classmethod
    def prepare(cls, job: Job) -> None:
        import nncf  # noqa: F401

        super().prepare(job)
        job.product(cls.product, lambda folder: quantize(job, folder / "model.xml"))


def convert(job: Job, file: Path) -> None:
    """Write the network, which takes (N, H, W, 3) uint8 pixels, in OpenVINO's format."""
    import openvino
    from openvino.preprocess import PrePostProcessor
    from torch_network import network_onnx

    mean, scale = job.normalization()
    steps = PrePostProcessor(openvino.Core().read_model(network_onnx(job)))
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().preprocess().convert_element_type(openvino.Type.f32).mean(mean.tolist()).scale((1 / scale).tolist())
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    openvino.save_model(steps.build(), file, compress_to_fp16=False)


def quantize(job: Job, file: Path) -> None:
    """Write NNCF's 8-bit model, calibrated on validation photos."""
    import nncf
    import openvino

    pixels = [image[None] for image in job.calibration_pixels()]
    model = openvino.Core().read_model(job.work / "openvino/model.xml")
    openvino.save_model(
        nncf.quantize(model, nncf.Dataset(pixels), subset_size=len(pixels)), file, compress_to_fp16=False
    )


if __name__ == "__main__":
    run_peer(fp32=OpenVinoPeer, latency=LatencyPeer, default=DefaultPrecisionPeer, int8=Int8Peer)
