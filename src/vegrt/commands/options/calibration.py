"""Options of `vegrt export` and `vegrt calibrate` that control how int8 is calibrated."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vegrt.commands.options.shared import warn_renamed

if TYPE_CHECKING:
    from vegrt.calibration.settings import CalibrationSettings


class RestType(str, Enum):
    """The values of --rest."""

    fp16 = "fp16"
    fp32 = "fp32"


FloatType = Literal["fp16", "fp32"]
Attention = Literal["auto", "float", "int8"]
_FLOAT_TYPES: dict[FloatType, Literal["float16", "float32"]] = {"fp16": "float16", "fp32": "float32"}

PhotosOption = Annotated[int, typer.Option("--photos", help="Observe at most this many photos.")]
PercentileOption = Annotated[
    float, typer.Option("--percentile", help="Percentile of activation magnitudes for the percentile method.")
]
MaxDropOption = Annotated[
    float | None,
    typer.Option(
        "--max-drop",
        metavar="POINTS",
        help="Keep layers in float until int8 loses at most this many points of accuracy on held-out photos.",
    ),
]
MaxFlipsOption = Annotated[
    int | None,
    typer.Option(
        "--max-flips",
        metavar="N",
        help="Keep layers in float until int8 changes at most this many answers on held-out photos.",
    ),
]
FloatLayersOption = Annotated[
    str | Path | None,
    typer.Option(
        "--float-layers", help="JSON file with layers to keep in float, in the format of a bundle's float-layers.json."
    ),
]
FloatTypeOption = Annotated[
    FloatType, typer.Option("--float-type", help="Float type of the layers in int8.onnx that are not 8-bit.")
]
# None is told apart from the default: for `calibrate` a requested type is a request to calibrate again.
RequestedFloatTypeOption = Annotated[
    FloatType | None,
    typer.Option("--float-type", help="Float type of the layers in int8.onnx that are not 8-bit (default: fp16)."),
]
RacingOption = Annotated[
    bool,
    typer.Option(
        "--racing/--no-racing",
        help="Stop range methods early that are clearly worse; --no-racing judges all of them on all photos.",
    ),
]
AttentionOption = Annotated[
    Attention,
    typer.Option(
        "--attention",
        help="Type of attention's products of two activations in the int8 models; auto: int8 unless held-out answers change.",
    ),
]
RequestedAttentionOption = Annotated[
    Attention | None,
    typer.Option(
        "--attention",
        help="Type of attention's products of two activations in the int8 models (default: auto: int8 unless held-out answers "
        "change).",
    ),
]
RestOption = Annotated[RestType | None, typer.Option("--rest", hidden=True, help="Former name of --float-type.")]


def settings_of(
    photos: int,
    percentile: float,
    max_drop: float | None,
    max_flips: int | None,
    float_layers: str | Path | None,
    float_type: FloatType,
    racing: bool,
    attention: Attention,
) -> CalibrationSettings:
    """Return the options as CalibrationSettings."""
    from vegrt.calibration.settings import CalibrationSettings, read_float_layers

    layers = read_float_layers(Path(float_layers)) if float_layers else {}
    kind = _FLOAT_TYPES[float_type]
    return CalibrationSettings(photos, percentile, max_drop, max_flips, layers, kind, racing, attention)


def without_rest(options: dict[str, Any], rest: RestType | None) -> dict[str, Any]:
    """Return options with the value of --rest, the former name of --float-type, as that of --float-type."""
    if rest is None:
        return options
    warn_renamed("--rest", "--float-type")
    return options | {"float_type": rest.value}
