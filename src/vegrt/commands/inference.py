"""vegrt infer and doctor: what needs no training and no export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options import infer as options
from vegrt.commands.options.shared import (
    DeviceOption,
    JsonOption,
    ObjectiveName,
    ObjectiveOption,
    PublicKeyOption,
    RuntimeOption,
    show,
)
from vegrt.errors import VegrtError
from vegrt.terminal.streams import ReaderLeft

MODELS = Path("models")


def infer(
    sources: options.SourceArgument,
    model: Annotated[Path | None, typer.Option(help="Bundle; default: the only one under models/.")] = None,
    variant: Annotated[str | None, typer.Option(help="fp32, fp16, int8 or int8-cpu.")] = None,
    runtime: RuntimeOption = None,
    device: DeviceOption = None,
    objective: ObjectiveOption = ObjectiveName.latency,
    threads: Annotated[int, typer.Option(min=0, help="0: all cores that this process may use.")] = 0,
    batch: options.BatchSizeOption = "16",
    out: options.OutOption = None,
    resume: options.ResumeOption = False,
    overwrite: options.OverwriteOption = False,
    printed: options.PrintOption = False,
    top_k: options.TopKOption = 1,
    scores: options.ScoresOption = options.Scores.probabilities,
    min_probability: options.MinProbabilityOption = 0.0,
    embeddings: options.EmbeddingsOption = "",
    annotate: options.AnnotateOption = None,
    sort_into: options.SortIntoOption = None,
    follow: options.FollowOption = False,
    every: options.EveryOption = 1,
    null: options.NullOption = False,
    engine: options.EngineOption = options.Engine.local,
    workers: options.WorkersOption = 0,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="With --runtime tensorrt: build engines that do not fit this GPU anew.")
    ] = False,
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is in each image.

    One line per image: path, class, probability; with --out they go there. Without --variant: the fastest that passed the gate.
    """
    from vegrt.infer.outputs.extras import PhotoOutputs
    from vegrt.infer.outputs.files import IN_TABLE, OutputOptions
    from vegrt.infer.outputs.rows import RowFormat
    from vegrt.infer.predict import Request, run
    from vegrt.infer.sources.open import SourceOptions

    model = model or _only_bundle()
    if rebuild:
        _rebuild(model, variant, runtime, public_key)
    request = Request(
        tuple(sources),
        variant,
        runtime,
        device.value if device else None,
        threads,
        _batch_size(batch),
        SourceOptions(every=every, null=null, follow=follow),
        RowFormat(top_k, scores.value, min_probability, embeddings == IN_TABLE),
        OutputOptions(out, embeddings, resume, overwrite, printed),
        PhotoOutputs(annotate, sort_into),
        objective.value,
        public_key,
    )
    if engine is options.Engine.ray:
        from vegrt.infer.ray.job import run_ray

        summary = run_ray(model, request, workers=workers)
        return show(summary.to_dict(), True) if as_json else None
    _print(run(model, request, as_json=as_json), to_the_end=out is not None)


def doctor(as_json: JsonOption = False) -> None:
    """Say what will be fast here and why.

    CPU features, runtimes, GPU and driver, and what to install.
    """
    from vegrt.infer.machine.doctor import examine, render

    diagnosis = examine()
    show(diagnosis.to_dict(), True) if as_json else show(render(diagnosis), False)


def _rebuild(model: Path, variant: str | None, runtime: str | None, public_key: Path | None) -> None:
    from vegrt.errors import require

    if public_key is not None:
        raise VegrtError(
            "--rebuild: changes the bundle, whose signature is then void; leave --public-key out, then sign it"
        )
    if runtime != "tensorrt":
        raise VegrtError(
            f"--rebuild: builds TensorRT engines, the runtime is {runtime or 'not named'}; add --runtime tensorrt"
        )
    from vegrt.infer.runtimes.tensorrt import local_fingerprint

    here = local_fingerprint()
    require("onnx", "export")
    require("onnx_ir", "export")
    from vegrt.export.engines.rebuild import rebuild_engines

    rebuild_engines(model, (variant,) if variant else None, here)


def _print(parts: Iterator[str], *, to_the_end: bool) -> None:
    """Write text to stdout as it comes, a batch at a time. to_the_end: a reader that leaves ends the printing, not the work."""
    for part in parts:
        try:
            typer.echo(part, nl=False)
        except ReaderLeft:
            if not to_the_end:
                raise


def _batch_size(text: str) -> int:
    """Return the number, 0 for `auto`."""
    if text == "auto":
        return 0
    if not text.isdecimal() or not 1 <= int(text) <= 4096:
        raise typer.BadParameter(f"{text!r}: expected a number from 1 to 4096, or auto", param_hint="--batch")
    return int(text)


def _only_bundle() -> Path:
    from vegrt.bundle.bundle import find_bundles

    found = find_bundles(MODELS)
    if len(found) == 1:
        return found[0]
    have = f"{len(found)} bundles ({', '.join(map(str, found))})" if found else "no bundle"
    raise VegrtError(f"{MODELS}/: {have} in it; name one: vegrt infer --model BUNDLE SOURCE...")
