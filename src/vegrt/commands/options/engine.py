"""Options of `vegrt export` that control how models and engines are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vegrt.commands.options.numbers import text_of
from vegrt.errors import ArgumentError

if TYPE_CHECKING:
    from vegrt.export.engines.options import Profile


EnginePreset = Literal["online", "offline"]


def parse_batch(text: str) -> tuple[int, int, int]:
    """Return the three batch sizes of a text such as 1,8,32. Raises EngineError for anything else."""
    from vegrt.export.engines.options import Profile

    profile = Profile.parse(text)
    return profile.smallest, profile.tuned, profile.largest


EngineOption = Annotated[
    bool | None,
    typer.Option(
        "--engine/--no-engine", help="Build engines; fail if that is impossible (default: build if possible)."
    ),
]
OpsetOption = Annotated[int, typer.Option("--opset", help="ONNX opset, 19 or later.")]
Bf16Option = Annotated[
    bool, typer.Option("--bf16", help="Also write bf16.onnx and its engine, for TensorRT and OpenVINO.")
]
Fp16Option = Annotated[
    bool,
    typer.Option(
        "--fp16/--no-fp16",
        help="Write fp16.onnx and its engine. Without it, int8's other layers are fp32, and an fp32 engine replaces it.",
    ),
]
Fp32EngineOption = Annotated[bool, typer.Option("--fp32-engine", help="Also build an fp32 engine.")]
PresetOption = Annotated[
    EnginePreset | None,
    typer.Option(
        "--preset",
        help="Batch sizes of engines: online 1,8,32 (default) for few photos at a time; offline 1,64,256 for many at a time.",
    ),
]
BatchOption = Annotated[
    Sequence[int] | None,
    typer.Option(
        "--batch",
        metavar="MIN,OPT,MAX",
        parser=parse_batch,
        help="Batch sizes of engines instead of --preset: smallest, tuned for, largest.",
    ),
]
WorkspaceOption = Annotated[
    int, typer.Option("--workspace", min=1, metavar="MIB", help="Scratch memory of the engine builder, in MiB.")
]
BuilderLevelOption = Annotated[
    int | None,
    typer.Option(
        "--builder-level",
        min=0,
        max=5,
        help="Optimization level of the engine builder: 0 builds fastest, 5 builds the fastest engines "
        "(default: TensorRT's).",
    ),
]
Tf32Option = Annotated[
    bool,
    typer.Option(
        "--tf32", help="Let engines round float32 products to TF32, which is faster and less exact (default: off)."
    ),
]
VersionCompatibleOption = Annotated[
    bool, typer.Option("--version-compatible", help="Build engines that later TensorRT versions can also load.")
]
HardwareCompatibleOption = Annotated[
    bool,
    typer.Option("--hardware-compatible", help="Build engines for all GPUs since Ampere; they are somewhat slower."),
]
MinInt8Option = Annotated[
    float | None,
    typer.Option(
        "--min-int8",
        metavar="SHARE",
        help="Smallest share (0 to 1) of layers with weights that must be Int8 in the engine (default: every layer that is "
        "quantized in int8.onnx).",
    ),
]


def profile_of(preset: EnginePreset | None, batch: Sequence[int] | None) -> Profile:
    """Return the batch sizes from --preset or --batch. Raises EngineError for an invalid --batch, ArgumentError for both."""
    from vegrt.export.engines.options import PRESETS, Profile

    if batch is None:
        return PRESETS[preset or "online"]
    if preset is not None:
        raise ArgumentError(f"--batch {text_of(batch)}: sets the batch sizes, as --preset does; leave one of them out")
    return Profile.parse(text_of(batch))
