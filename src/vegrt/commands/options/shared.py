"""Arguments and options that several commands share, and how a result is printed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vegrt.errors import VegrtError
from vegrt.files.text import json_text
from vegrt.terminal.streams import unescaped

log = logging.getLogger(__name__)


class Device(str, Enum):
    """Values of --device."""

    cpu = "cpu"
    cuda = "cuda"


DeviceOption = Annotated[
    Device | None,
    typer.Option("--device", help="Device: cpu or cuda (default: the GPU if it is usable, otherwise the CPU)."),
]


class ObjectiveName(str, Enum):
    """Values of --objective."""

    latency = "latency"
    throughput = "throughput"


# What a function of the API takes has the types that Python code gives: ...Path, ...Choice, and all that only such functions
# take. vegrt.commands.options.derived makes the command line's types from them.
_OBJECTIVE = typer.Option(
    "--objective", help="Choose the fastest by latency (one photo) or throughput (images/s at the best batch size)."
)
ObjectiveOption = Annotated[ObjectiveName, _OBJECTIVE]
ObjectiveChoice = Annotated[Literal["latency", "throughput"], _OBJECTIVE]
_BUNDLE = typer.Argument(metavar="BUNDLE", help="Bundle folder, for example models/resnet18.")
BundleArgument = Annotated[Path, _BUNDLE]
BundlePath = Annotated[str | Path, _BUNDLE]
_DATA = typer.Option("--data", help="Data folder with train/, validation/ and test/, or a CSV file.")
DataOption = Annotated[Path, _DATA]
DataPath = Annotated[str | Path, _DATA]
_PUBLIC_KEY = typer.Option(
    "--public-key",
    help="Require a signature by this ed25519 public key (PEM file); ignore results that it does not cover.",
)
PublicKeyOption = Annotated[Path | None, _PUBLIC_KEY]
PublicKeyPath = Annotated[str | Path | None, _PUBLIC_KEY]
OverwriteFileOption = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")]
OverwriteModelsOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace models even if this invalidates evaluations, benchmarks or engines."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help="Runtime: onnxruntime, onnxruntime-tensorrt, openvino, mnn, tensorrt or torch (default: the fastest here).",
    ),
]
ProviderOption = Annotated[
    str | None,
    typer.Option(
        "--provider",
        metavar="NAME[,key=value,...]",
        help="Plug-in provider of ONNX Runtime with its options, such as openvino,hardware=npu; the same as --runtime "
        "onnxruntime+NAME.",
    ),
]
MeasuredDeviceOption = Annotated[
    Literal["cpu", "cuda"] | None,
    typer.Option(
        "--device", help="Measure on this device only: cpu or cuda (default: the CPU, and a GPU if one works here)."
    ),
]
VariantsOption = Annotated[
    Sequence[str] | None, typer.Option("--variant", help="Measure only this variant; repeatable.")
]


def runtime_name(runtime: str | None, provider: str | None) -> str | None:
    """Return the runtime with its plug-in provider, as results name it. Raises VegrtError for a provider of another runtime."""
    if provider is None:
        return runtime
    if runtime not in (None, "onnxruntime"):
        raise VegrtError(f"--provider {provider}: is one of ONNX Runtime, not of {runtime}; leave --runtime out")
    return f"onnxruntime+{provider}"


def warn_renamed(former: str, name: str) -> None:
    """Log one line for an old spelling, which works for one more version."""
    log.warning("%s is now called %s; %s will be removed in the next version", former, name, former)


def show(value: Any, as_json: bool) -> None:
    """Print one JSON object or a rich table. If stdout is not a terminal, a table may be 160 columns wide."""
    if as_json:
        typer.echo(json_text(value))
        return
    from vegrt.commands.options.console import SafeConsole

    console = SafeConsole(width=None if sys.stdout.isatty() else 160)
    with unescaped(sys.stdout):
        console.print(value)
