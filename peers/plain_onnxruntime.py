"""ONNX Runtime with its default settings: a loop that decodes a batch, then runs it.

It runs the exported fp32.onnx; with --kind int8 what its own quantize_static makes of the network, with the settings that its
documentation recommends for x86: Q/DQ, U8S8, per channel, MinMax, and 7-bit weights on CPUs without VNNI.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peer import Job, Peer, normalized, run_peer


class OnnxRuntimePeer(Peer):
    """An InferenceSession on the CPU."""

    name = "ONNX Runtime fp32"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.open(job.bundle / "fp32.onnx")

    def open(self, model: Path) -> None:
        """Load a model."""
        import onnxruntime

        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def run(self, batch: Any) -> NDArray[np.float32]:
        return self.session.run(["logits"], {"images": batch})[0]


class QuantizedPeer(OnnxRuntimePeer):
    """The same, of a network that takes floats and was quantized by ONNX Runtime."""

    name = "ONNX Runtime int8, quantize_static"

    def __init__(self, job: Job) -> None:
        self.job = job
        self.open(job.work / "onnxruntime-int8/int8.onnx")

    @classmethod
    def prepare(cls, job: Job) -> None:
        job.product("onnxruntime-int8", lambda folder: quantize(job, folder))

    def from_pixels(self, images: NDArray[np.uint8]) -> Any:
        return normalized(images, self.job)


def quantize(job: Job, folder: Path) -> None:
    """Write int8.onnx, calibrated on validation photos."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from torch_network import network_onnx

    class Reader(quantization.CalibrationDataReader):
        """Gives one photo at a time."""

        images = iter(normalized(job.calibration_pixels(), job))

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.images, None)
            return None if image is None else {"images": image[None]}

    quant_pre_process(network_onnx(job), folder / "fp32.onnx")
    quantization.quantize_static(
        folder / "fp32.onnx",
        folder / "int8.onnx",
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        reduce_range="vnni" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"),
        calibrate_method=quantization.CalibrationMethod.MinMax,
    )


if __name__ == "__main__":
    run_peer(fp32=OnnxRuntimePeer, int8=QuantizedPeer)
