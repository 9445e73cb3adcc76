"""What the commands share: arguments, options, and how a result is shown."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from vegrt.files.text import json_text
from vegrt.terminal.streams import unescaped


class Device(str, Enum):
    """What --device takes."""

    cpu = "cpu"
    cuda = "cuda"


DeviceOption = Annotated[
    Device | None, typer.Option("--device", help="cpu or cuda; default: a GPU that works here, else the CPU.")
]


class ObjectiveName(str, Enum):
    """What --objective takes."""

    latency = "latency"
    throughput = "throughput"


ObjectiveOption = Annotated[
    ObjectiveName,
    typer.Option("--objective", help="What fastest means: the time of one photo, or images/s at the best batch."),
]
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder, such as models/resnet18.")]
DataOption = Annotated[
    Path, typer.Option("--data", help="Folder with train/, validation/ and test/ in it, or a CSV file.")
]
PublicKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--public-key", help="Require a signature by this ed25519 key (PEM); results it does not cover do not count."
    ),
]
OverwriteFileOption = Annotated[bool, typer.Option("--overwrite", help="Replace OUT where it exists.")]
OverwriteModelsOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace models although evaluations, benchmarks or engines become void by it."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime", help="onnxruntime, onnxruntime-tensorrt, openvino, tensorrt or torch; default: the best here."
    ),
]


def show(value: Any, as_json: bool) -> None:
    """Print one JSON object, or a rich table as wide as its content where stdout is no terminal."""
    if as_json:
        typer.echo(json_text(value))
        return
    from vegrt.commands.options.console import SafeConsole

    console = SafeConsole(width=None if sys.stdout.isatty() else 160)
    with unescaped(sys.stdout):
        console.print(value)
