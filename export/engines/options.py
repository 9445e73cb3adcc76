"""What `vegrt export` can be asked for beyond a bundle and photos."""

from __future__ import annotations

from dataclasses import dataclass, field

from vegrt.errors import EngineError
from vegrt.export.engines.build import BuildOptions, Profile

OPSET = 20


@dataclass(frozen=True, slots=True)
class Options:
    """How models and engines are made.

    opset: of all models but bf16.onnx. bf16: a bfloat16 model for TensorRT too. fp32_engine: an fp32 engine too.
    profile: batch sizes of the engines, the largest also of the parity gate. min_int8: least share of all layers with weights
    that are Int8 in an int8 engine; None asks it of each that is quantized in int8.onnx.
    """

    opset: int = OPSET
    bf16: bool = False
    fp32_engine: bool = False
    profile: Profile = field(default_factory=Profile)
    build: BuildOptions = field(default_factory=BuildOptions)
    min_int8: float | None = None

    def __post_init__(self) -> None:
        if self.min_int8 is not None and not 0 <= self.min_int8 <= 1:
            raise EngineError(f"--min-int8 {self.min_int8}: expected a share between 0 and 1")
