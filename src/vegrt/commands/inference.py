"""vegrt infer and doctor: what needs no training and no export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options import Device, JsonOption, RuntimeOption, show
from vegrt.errors import VegrtError

MODELS = Path("models")


def infer(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Images and folders of images.")],
    model: Annotated[Path | None, typer.Option(help="Bundle; default: the only one under models/.")] = None,
    variant: Annotated[str | None, typer.Option(help="fp32, fp16, int8 or int8-cpu.")] = None,
    runtime: RuntimeOption = None,
    device: Annotated[Device, typer.Option(help="Where to run.")] = Device.cpu,
    threads: Annotated[int, typer.Option(min=0, help="0: all cores that this process may use.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write .csv, .jsonl or .parquet.")] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="With --runtime tensorrt: build engines that do not fit this GPU anew.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is in each image.

    One line per image: path, class, probability. Without --variant: the fastest that passed the gate.
    """
    from vegrt.infer.predict import Request, run

    model = model or _only_bundle()
    if rebuild:
        _rebuild(model, variant, runtime)

    request = Request(tuple(sources), variant, runtime, device.value, threads, out)
    lines = run(model, request, as_json=as_json)
    for line in lines:
        typer.echo(line)


def doctor(as_json: JsonOption = False) -> None:
    """Say what will be fast here and why.

    CPU features, runtimes, GPU and driver, and what to install.
    """
    from vegrt.infer.doctor import examine, render

    diagnosis = examine()
    show(diagnosis.to_dict(), True) if as_json else show(render(diagnosis), False)


def _rebuild(model: Path, variant: str | None, runtime: str | None) -> None:
    from vegrt.errors import require

    if runtime != "tensorrt":
        raise VegrtError(
            f"--rebuild: builds TensorRT engines, the runtime is {runtime or 'not named'}; add --runtime tensorrt"
        )
    from vegrt.infer.tensorrt import local_fingerprint

    here = local_fingerprint()
    require("onnx", "export")
    require("onnx_ir", "export")
    from vegrt.export.rebuild import rebuild_engines

    rebuild_engines(model, (variant,) if variant else None, here)


def _only_bundle() -> Path:
    from vegrt.bundle import find_bundles

    found = find_bundles(MODELS)
    if len(found) == 1:
        return found[0]
    have = f"{len(found)} bundles ({', '.join(map(str, found))})" if found else "no bundle"
    raise VegrtError(f"{MODELS}/: {have} in it; name one: vegrt infer --model BUNDLE SOURCE...")
