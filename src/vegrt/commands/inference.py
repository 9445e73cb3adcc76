"""vegrt infer and doctor: commands that need no training and no export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options import infer as options
from vegrt.commands.options.shared import (
    DeviceOption,
    JsonOption,
    PublicKeyOption,
    RuntimeOption,
    show,
    warn_renamed,
)
from vegrt.errors import VegrtError
from vegrt.terminal.streams import ReaderLeft

MODELS = Path("models")


def infer(
    sources: options.SourceArgument,
    bundle: options.BundleOption = None,
    model: options.FormerBundleOption = None,
    variant: Annotated[
        str | None,
        typer.Option(help="fp32, fp16, int8 or int8-cpu; default: the fastest that passed the gate."),
    ] = None,
    runtime: RuntimeOption = None,
    device: DeviceOption = None,
    objective: options.ObjectiveOption = None,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of the runtime; 0: all cores that this process may use.")
    ] = 0,
    batch: options.BatchSizeOption = "16",
    decode: options.DecodeOption = options.Decode.auto,
    decode_workers: options.DecodeWorkersOption = 0,
    out: options.OutOption = None,
    resume: options.ResumeOption = False,
    overwrite: options.OverwriteOption = False,
    printed: options.PrintOption = False,
    top_k: options.TopKOption = 1,
    scores: options.ScoresOption = options.Scores.probabilities,
    min_probability: options.MinProbabilityOption = 0.0,
    reject: options.RejectOption = False,
    embeddings: options.EmbeddingsOption = "",
    annotate: options.AnnotateOption = None,
    sort_into: options.SortIntoOption = None,
    follow: options.FollowOption = False,
    every: options.EveryOption = 1,
    null: options.NullOption = False,
    engine: options.EngineOption = options.InferEngine.local,
    workers: options.WorkersOption = 0,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="With --runtime tensorrt: rebuild engines that do not fit this GPU or that TensorRT refuses.",
        ),
    ] = False,
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify images.

    Prints one line per image: path, class, probability. With --out, the rows are written to that file instead.
    """
    from vegrt.infer.outputs.files import IN_TABLE, OutputOptions
    from vegrt.infer.outputs.photos import PhotoOutputs
    from vegrt.infer.outputs.rows import RowFormat
    from vegrt.infer.predict import Request, run
    from vegrt.infer.sources.open import SourceOptions

    path = _bundle_path(bundle, model)
    if rebuild:
        _rebuild(path, variant, runtime, public_key)
    request = Request(
        tuple(sources),
        variant,
        runtime,
        device.value if device else None,
        threads,
        _batch_size(batch),
        SourceOptions(every=every, null=null, follow=follow),
        RowFormat(top_k, scores.value, min_probability, embeddings == IN_TABLE, reject),
        OutputOptions(out, embeddings, resume, overwrite, printed),
        PhotoOutputs(annotate, sort_into),
        objective.value if objective else None,
        public_key,
        decode.value,
        decode_workers,
    )
    if engine is options.InferEngine.ray:
        if reject:
            raise VegrtError("--reject: not with --engine ray; use --engine local, on parts of the photos")
        from vegrt.infer.ray.job import run_ray

        summary = run_ray(path, request, workers=workers)
        return show(summary.to_dict(), True) if as_json else None
    run(path, request, _writer(finishes=out is not None), as_json=as_json)


def doctor(
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Measure what the CPU can multiply, and small networks in each runtime: half a minute."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show which variants will be fast on this machine, and why.

    Lists CPU features, runtimes, GPU and driver, and packages worth installing. What was measured is kept in the user's cache;
    later forecasts follow it, until the processor or a runtime changes.
    """
    from vegrt.infer.machine.doctor import examine, render

    if measure:
        from vegrt.evaluate.benchmark.machine import measure_machine
        from vegrt.infer.machine.measured import save_measurements
        from vegrt.machine import examine_machine

        save_measurements(examine_machine().cpu, measure_machine())
    diagnosis = examine()
    show(diagnosis.to_dict(), True) if as_json else show(render(diagnosis), False)


def _rebuild(path: Path, variant: str | None, runtime: str | None, public_key: Path | None) -> None:
    from vegrt.errors import require

    if public_key is not None:
        raise VegrtError(
            "--rebuild: changes the bundle and voids its signature; leave --public-key out, then sign the bundle again"
        )
    if runtime != "tensorrt":
        raise VegrtError(
            f"--rebuild: builds TensorRT engines, the runtime is {runtime or 'not named'}; add --runtime tensorrt"
        )
    from vegrt.infer.runtimes.tensorrt.engine import local_fingerprint, open_tensorrt

    local = local_fingerprint()
    require("onnx", "export")
    require("onnx_ir", "export")
    from vegrt.export.engines.rebuild import rebuild_engines

    rebuild_engines(
        path,
        (variant,) if variant else None,
        local,
        open_engine=lambda bundle, name: open_tensorrt(bundle, name).close(),
    )


def _writer(*, finishes: bool) -> Callable[[str], None]:
    """Return a function that writes text to stdout. finishes: continue without printing when the reader of stdout is gone."""

    def write(text: str) -> None:
        try:
            typer.echo(text, nl=False)
        except ReaderLeft:
            if not finishes:
                raise

    return write


def _bundle_path(bundle: Path | None, model: Path | None) -> Path:
    """Return the bundle that is named by --bundle, by its former name --model, or the only one under models/."""
    if model is not None:
        warn_renamed("--model", "--bundle")
        if bundle is not None:
            raise VegrtError("--bundle and --model: both name the bundle; leave --model out")
    return bundle or model or _only_bundle()


def _batch_size(text: str) -> int:
    """Return the number, 0 for `auto`."""
    if text == "auto":
        return 0
    if not text.isdecimal() or not 1 <= int(text) <= 4096:
        raise typer.BadParameter(f"{text!r}: expected a number from 1 to 4096, or auto", param_hint="--batch")
    return int(text)


def _only_bundle() -> Path:
    from vegrt.bundle.bundle import find_bundles

    bundles = find_bundles(MODELS)
    if len(bundles) == 1:
        return bundles[0]
    content = f"{len(bundles)} bundles ({', '.join(map(str, bundles))})" if bundles else "no bundle"
    raise VegrtError(f"{MODELS}/: holds {content}; name one: vegrt infer IMAGES... --bundle BUNDLE")
