"""Options of `vegrt export` and `vegrt calibrate` that say how int8 is calibrated."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vegrt.calibration.settings import CalibrationSettings


class FloatType(str, Enum):
    """What --rest takes."""

    fp16 = "fp16"
    fp32 = "fp32"


PhotosOption = Annotated[int, typer.Option("--photos", help="How many photos are observed at most.")]
PercentileOption = Annotated[float, typer.Option("--percentile", help="Of the percentile method.")]
MaxDropOption = Annotated[
    float | None,
    typer.Option(
        "--max-drop", metavar="POINTS", help="Keep layers in float until int8 loses no more on held-out photos."
    ),
]
MaxFlipsOption = Annotated[
    int | None,
    typer.Option("--max-flips", metavar="N", help="Keep layers in float until no more held-out answers change."),
]
FloatLayersOption = Annotated[
    Path | None,
    typer.Option("--float-layers", help="JSON with layers to keep in float, as float-layers.json in a bundle."),
]
RestOption = Annotated[FloatType, typer.Option("--rest", help="Type of what is not 8-bit in int8.onnx.")]


def settings_of(
    photos: int,
    percentile: float,
    max_drop: float | None,
    max_flips: int | None,
    float_layers: Path | None,
    rest: FloatType,
) -> CalibrationSettings:
    """Return the options as Settings."""
    from vegrt.calibration.settings import CalibrationSettings, read_float_layers

    kept = read_float_layers(float_layers) if float_layers else {}
    return CalibrationSettings(
        photos, percentile, max_drop, max_flips, kept, "float16" if rest is FloatType.fp16 else "float32"
    )
