"""Options of `vegrt export` that say how models and engines are made."""

from __future__ import annotations

from typing import Annotated

import typer

OpsetOption = Annotated[int, typer.Option("--opset", help="ONNX opset, 19 or more.")]
Bf16Option = Annotated[bool, typer.Option("--bf16", help="bf16.onnx and its engine too; for TensorRT and OpenVINO.")]
Fp32EngineOption = Annotated[bool, typer.Option("--fp32-engine", help="An fp32 engine too.")]
BatchOption = Annotated[str, typer.Option("--batch", metavar="MIN,OPT,MAX", help="Batch sizes that engines take.")]
WorkspaceOption = Annotated[int, typer.Option("--workspace", min=1, metavar="MIB", help="Builder's scratch memory.")]
BuilderLevelOption = Annotated[
    int | None, typer.Option("--builder-level", min=0, max=5, help="0 builds fast, 5 builds fast engines.")
]
VersionCompatibleOption = Annotated[
    bool, typer.Option("--version-compatible", help="Engines that later TensorRT versions open too.")
]
HardwareCompatibleOption = Annotated[
    bool, typer.Option("--hardware-compatible", help="Engines for any GPU from Ampere on, somewhat slower.")
]
MinInt8Option = Annotated[
    float | None,
    typer.Option(
        "--min-int8",
        metavar="SHARE",
        help="Least share, 0 to 1, of all layers with weights that are Int8; default: all that are quantized.",
    ),
]
