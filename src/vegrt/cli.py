"""The vegrt command. Each command parses, calls one library function and shows the result; heavy imports are inside.

Exit codes: 0 done, 1 a VegrtError (one line on stderr), 2 wrong usage, 3 gate FAIL, 4 gate INCONCLUSIVE, 130 interrupted,
141 whoever read our output left.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vegrt import __version__
from vegrt.errors import VegrtError

GATE_EXIT_CODES = {"FAIL": 3, "INCONCLUSIVE": 4}
MODELS = Path("models")


class _Group(TyperGroup):
    """Turns expected failures into one line and an exit code; anything else keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except VegrtError as error:
            typer.echo(f"vegrt: {' '.join(str(error).split())}", err=True)
            raise SystemExit(1) from error
        except KeyboardInterrupt as error:
            note = f" {error}" if str(error) else ""
            typer.echo(f"vegrt: interrupted{note}", err=True)
            raise SystemExit(130) from error
        except BrokenPipeError as error:  # `vegrt infer ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(141) from error


app = typer.Typer(
    cls=_Group, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)
data_app = typer.Typer(no_args_is_help=True, help="Make, fetch and audit data folders.")
app.add_typer(data_app, name="data")


class Backbone(str, Enum):
    """What --backbone takes; the table is vegrt.networks.BACKBONES, which this file must not import."""

    resnet18 = "resnet18"
    resnet50 = "resnet50"
    vgg16 = "vgg16"
    efficientnet_b0 = "efficientnet_b0"
    mobilenet_v2 = "mobilenet_v2"


class Device(str, Enum):
    """What --device takes."""

    cpu = "cpu"
    cuda = "cuda"


BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder, such as models/resnet18.")]
DataOption = Annotated[Path, typer.Option("--data", help="Folder with train/, validation/ and test/ in it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")]
RuntimeOption = Annotated[
    str | None,
    typer.Option("--runtime", help="onnxruntime, openvino, tensorrt or torch; default: what is best here."),
]


def main() -> None:
    """Run the command line."""
    app()


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors on stderr.")] = False,
) -> None:
    """Image classifiers as ONNX, FP16, INT8 and TensorRT files, with evidence that accuracy survived."""
    logging.basicConfig(format="vegrt: %(message)s", level=logging.WARNING)
    logging.getLogger("vegrt").setLevel(logging.WARNING if quiet else logging.INFO)
    if version:
        typer.echo(f"vegrt {__version__}")
        raise typer.Exit


@data_app.command("sample")
def data_sample(
    out: Annotated[Path, typer.Argument(help="New folder for the set.")],
    seed: Annotated[int, typer.Option(help="Another seed draws other pictures.")] = 0,
    train: Annotated[int, typer.Option(min=1, help="Training images of each class.")] = 100,
    validation: Annotated[int, typer.Option(min=1, help="Validation images of each class.")] = 40,
    test: Annotated[int, typer.Option(min=1, help="Test images of each class.")] = 100,
) -> None:
    """Draw the embedded sample set.

    15 vegetable classes with train/, validation/ and test/, drawn by a program; nothing is downloaded.
    """
    from vegrt.train.sample import SampleSizes, write_sample_set

    count = write_sample_set(out, SampleSizes(train, validation, test), seed)
    typer.echo(f"{out}: {count} images of 15 classes")


@data_app.command("fetch")
def data_fetch(out: Annotated[Path, typer.Argument(help="Folder for the set.")]) -> None:
    """Download the Vegetable Image Dataset.

    From Kaggle, with its counts verified. A folder that you filled by hand is verified only.
    """
    from vegrt.train.fetch import fetch

    for split, counts in fetch(out).items():
        typer.echo(f"{out}/{split}: {sum(counts.values())} photos of {len(counts)} classes")


@data_app.command("audit")
def data_audit(
    data: Annotated[Path, typer.Argument(help="Folder with train/, validation/ and test/ in it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for audit.json and audit.html.")] = Path("audit"),
    as_json: JsonOption = False,
) -> None:
    """Find duplicates and leaks between splits.

    Counts photos; lists unreadable, odd-sized, equal and nearly equal ones; writes audit.json and audit.html.
    """
    from vegrt.train.audit import audit
    from vegrt.train.audit_file import summary_lines

    result = audit(data, out)
    _show(result.to_dict(), True) if as_json else typer.echo(
        "\n".join([*summary_lines(result), f"{out / 'audit.html'}"])
    )


@app.command()
def train(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Bundle folder to write, such as models/resnet18.")],
    backbone: Annotated[Backbone | None, typer.Option(help="Architecture.")] = None,
    weights: Annotated[str | None, typer.Option(help="imagenet, none, or a .safetensors or .pth file.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="TOML file with any key of the recipe; flags win.")] = None,
    head: Annotated[str | None, typer.Option(help="vgg16 only: gap (15 M parameters) or classic (138 M).")] = None,
    size: Annotated[int | None, typer.Option(help="Model input's side, in pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs in which all layers learn.")] = None,
    epochs_head: Annotated[int | None, typer.Option(help="Epochs of the head alone, before that.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Photos in a training step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of all layers.")] = None,
    lr_head: Annotated[float | None, typer.Option(help="Peak learning rate of the head alone.")] = None,
    freeze_until: Annotated[str | None, typer.Option(help="Last stage that keeps its weights.")] = None,
    augment: Annotated[str | None, typer.Option(help="none, light or full.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and augmentation.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted training of --out.")] = False,
    runs: Annotated[Path, typer.Option(help="SQLite file that records every epoch.")] = Path("runs.db"),
) -> None:
    """Train on DATA and write a bundle.

    Learns from DATA/train and chooses the epoch by DATA/validation; DATA/test is not looked at.
    """
    from vegrt.errors import require

    require("torchvision", "train")
    from vegrt.train.fit import saved_recipe
    from vegrt.train.fit import train as run_training
    from vegrt.train.recipe import make_recipe

    flags: dict[str, Any] = {
        "backbone": backbone.value if backbone else None,
        "weights": weights,
        "head": head,
        "size": size,
    }
    flags |= {"epochs": epochs, "epochs_head": epochs_head, "batch_size": batch_size, "lr": lr, "lr_head": lr_head}
    flags |= {"freeze_until": freeze_until, "augment": augment, "seed": seed}
    given = recipe is not None or any(value is not None for value in flags.values())
    kept = saved_recipe(out) if resume and not given else None
    bundle = run_training(data, out, kept or make_recipe(recipe, **flags), resume=resume, runs_db=runs)
    summary = bundle.manifest.training
    typer.echo(f"{out}: validation accuracy {summary['validation_accuracy']:.2%} in epoch {summary['best_epoch']}")


@app.command()
def export(
    bundle: BundleArgument,
    data: DataOption,
    engine: Annotated[
        bool | None,
        typer.Option(
            "--engine/--no-engine", help="TensorRT engines too, or an error; default: where they can be built."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the ONNX variants and engines.

    fp32, fp16, int8 (TensorRT's rules) and int8-cpu, calibrated on DATA/validation; each checked against its reference.
    """
    from vegrt.errors import require

    for module in ("torchvision", "onnx", "onnx_ir", "onnxscript", "onnxruntime"):
        require(module, "export")
    from vegrt.export.stage import describe_export, export_lines
    from vegrt.export.stage import export as run_export

    result = run_export(bundle, data, engines=engine)
    _show(describe_export(result), as_json) if as_json else typer.echo("\n".join(export_lines(result)))


@app.command()
def evaluate(
    bundle: BundleArgument,
    data: DataOption,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    margin: Annotated[float, typer.Option(min=0.0, max=100.0, help="Largest drop that passes, in points.")] = 0.5,
    runtime: RuntimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure accuracy; the gate decides.

    Every variant and runtime that runs here, paired against fp32. Exit 0 PASS, 3 FAIL, 4 INCONCLUSIVE.
    """
    from vegrt.bundle import open_bundle
    from vegrt.dataset import find_split, read_split
    from vegrt.infer.evaluate import evaluate as run_evaluation
    from vegrt.infer.evaluate import evaluation_table, worst_verdict
    from vegrt.infer.open import candidates
    from vegrt.infer.results import save_result

    opened = open_bundle(bundle)
    photos = read_split(data, find_split(split), opened.manifest.classes)
    body = run_evaluation(opened, photos, candidates(opened, runtime), margin=margin)
    path = save_result(opened, f"evaluate-{photos.name}{_only(runtime)}", body)
    _show(json.loads(path.read_text(encoding="utf-8")), True) if as_json else _show(evaluation_table(body), False)
    raise typer.Exit(GATE_EXIT_CODES.get(worst_verdict(body), 0))


@app.command()
def bench(
    bundle: BundleArgument,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds; each gives one timing per case.")] = 30,
    runtime: RuntimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time every variant and runtime here.

    Latency of one image and throughput of a batch, from memory, in interleaved rounds.
    """
    from vegrt.bundle import open_bundle
    from vegrt.infer.bench import bench as run_bench
    from vegrt.infer.bench import bench_table
    from vegrt.infer.open import candidates
    from vegrt.infer.results import save_result

    opened = open_bundle(bundle)
    body = run_bench(opened, candidates(opened, runtime), rounds=rounds)
    path = save_result(opened, f"bench{_only(runtime)}", body)
    _show(json.loads(path.read_text(encoding="utf-8")), True) if as_json else _show(bench_table(body), False)


@app.command()
def infer(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Images and folders of images.")],
    model: Annotated[Path | None, typer.Option(help="Bundle; default: the only one under models/.")] = None,
    variant: Annotated[str | None, typer.Option(help="fp32, fp16, int8 or int8-cpu.")] = None,
    runtime: RuntimeOption = None,
    device: Annotated[Device, typer.Option(help="Where to run.")] = Device.cpu,
    threads: Annotated[int, typer.Option(min=0, help="0: all cores that this process may use.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write .csv, .jsonl or .parquet.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is in each image.

    One line per image: path, class, probability. Without --variant: the fastest that passed the gate.
    """
    from vegrt.infer.predict import Request, run

    request = Request(tuple(sources), variant, runtime, device.value, threads, out)
    lines = run(model or _only_bundle(), request, as_json=as_json)
    for line in lines:
        typer.echo(line)


@app.command()
def report(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles with results.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
    data: Annotated[Path | None, typer.Option("--data", help="For the photos whose answer changed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one offline HTML page.

    From the result files of evaluate and bench; prints the comparison of all variants too.
    """
    from vegrt.bundle import open_bundle
    from vegrt.errors import require
    from vegrt.report.summary import comparison, render

    require("altair", "report")
    require("vl_convert", "report")
    from vegrt.report.page import write_report

    opened = [open_bundle(bundle) for bundle in bundles]
    write_report(opened, out, data=data)
    rows = {str(bundle.path): comparison(bundle) for bundle in opened}
    if as_json:
        _show(
            {"report": str(out), "bundles": {name: [row.to_dict() for row in found] for name, found in rows.items()}},
            True,
        )
        return
    for name, found in rows.items():
        typer.echo(name)
        _show(render(found), False)
    typer.echo(f"report: {out}")


@app.command()
def verify(bundle: BundleArgument, as_json: JsonOption = False) -> None:
    """Check hashes and golden answers.

    Every file's SHA-256, the golden photos' pixels, and every model's answer to them on this machine.
    """
    from dataclasses import asdict

    from vegrt.bundle import open_bundle
    from vegrt.infer.verify import verify as run_checks

    checks = run_checks(open_bundle(bundle, verify=False))
    if as_json:
        _show({"bundle": str(bundle), "checks": [asdict(check) for check in checks]}, True)
    else:
        typer.echo("\n".join(f"{'ok  ' if one.passed else 'FAIL'} {one.subject}: {one.detail}" for one in checks))
    if failed := [check.subject for check in checks if not check.passed]:
        raise VegrtError(
            f"{bundle}: {len(failed)} of {len(checks)} checks failed ({', '.join(failed)}); export it again"
        )


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what will be fast here and why.

    CPU features, runtimes, GPU and driver, and what to install.
    """
    from vegrt.infer.doctor import examine, render

    diagnosis = examine()
    _show(diagnosis.to_dict(), True) if as_json else _show(render(diagnosis), False)


def _only(runtime: str | None) -> str:
    """Return the ending of a result's name that keeps a partial one from replacing the whole."""
    return f"-only-{runtime}" if runtime else ""


def _only_bundle() -> Path:
    from vegrt.bundle import find_bundles

    found = find_bundles(MODELS)
    if len(found) == 1:
        return found[0]
    have = f"{len(found)} bundles ({', '.join(map(str, found))})" if found else "no bundle"
    raise VegrtError(f"{MODELS}/: {have} in it; name one: vegrt infer --model BUNDLE SOURCE...")


def _show(value: Any, as_json: bool) -> None:
    """Print one JSON object, or a rich table as wide as its content where stdout is no terminal."""
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(value)


if __name__ == "__main__":
    main()
