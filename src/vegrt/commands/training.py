"""vegrt train: photos to a bundle."""

from __future__ import annotations

import os
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from vegrt.commands.options.shared import DataOption

# what `tune` takes too
BackboneOption = Annotated[
    str | None,
    typer.Option(help="resnet18, resnet50, vgg16, efficientnet_b0, mobilenet_v2, or timm:NAME for one of timm's."),
]
WeightsOption = Annotated[str | None, typer.Option(help="imagenet, none, or a .safetensors or .pth file.")]
RecipeOption = Annotated[Path | None, typer.Option(help="TOML file with any key of the recipe; flags win.")]
HeadOption = Annotated[str | None, typer.Option(help="vgg16 only: gap (15 M parameters) or classic (138 M).")]
SizeOption = Annotated[int | None, typer.Option(help="Model input's side, in pixels.")]
EpochsOption = Annotated[int | None, typer.Option(help="Epochs in which all layers learn.")]
EpochsHeadOption = Annotated[int | None, typer.Option(help="Epochs of the head alone, before that.")]
BatchSizeOption = Annotated[int | None, typer.Option(help="Photos in a training step.")]
SeedOption = Annotated[int | None, typer.Option(help="Seed of weights, order and augmentation.")]
RunsOption = Annotated[Path, typer.Option(help="SQLite file that records every epoch.")]


def train(
    ctx: typer.Context,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Bundle folder to write, such as models/resnet18.")],
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    recipe: RecipeOption = None,
    head: HeadOption = None,
    size: SizeOption = None,
    epochs: EpochsOption = None,
    epochs_head: EpochsHeadOption = None,
    batch_size: BatchSizeOption = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of all layers.")] = None,
    lr_head: Annotated[float | None, typer.Option(help="Peak learning rate of the head alone.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the steps in which the rate rises.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="AdamW's, on matrices only.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Share of the target spread over all classes.")] = None,
    class_weights: Annotated[bool | None, typer.Option(help="Weigh classes by inverse frequency.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Largest norm of the gradient; 0 is off.")] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of averaged weights, per step; 0 is off.")] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without progress before it stops; 0 is never.")] = None,
    freeze_until: Annotated[str | None, typer.Option(help="Last stage that keeps its weights.")] = None,
    views: Annotated[
        int | None, typer.Option(help="Versions of each photo kept behind frozen stages; 0: none.")
    ] = None,
    augment: Annotated[str | None, typer.Option(help="none, light or full.")] = None,
    qat: Annotated[str | None, typer.Option(help="Exported bundle that learns to be 8-bit: a few epochs.")] = None,
    qat_encoding: Annotated[str | None, typer.Option(help="int8 or int8-cpu: whose rounding --qat learns.")] = None,
    seed: SeedOption = None,
    workers: Annotated[int | None, typer.Option(help="Processes that decode; -1 chooses.")] = None,
    compile_: Annotated[bool | None, typer.Option("--compile/--no-compile", help="Compile with torch.compile.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted training of --out.")] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the bundle at --out, its models and results; discard a half one."),
    ] = False,
    runs: RunsOption = Path("runs.db"),
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for TensorBoard scalars of every epoch.")] = None,
) -> None:
    """Train on DATA and write a bundle.

    Learns from DATA/train and chooses the epoch by DATA/validation; DATA/test is not looked at. A bundle or an unfinished
    training at --out is not touched unless --resume or --overwrite says so. Ctrl-C and SIGTERM save what --resume needs.
    """
    from vegrt.errors import require

    require("torchvision", "train")
    _check_qat(ctx, qat, out)
    from vegrt.train.fit import saved_recipe
    from vegrt.train.fit import train as run_training
    from vegrt.train.recipe import make_recipe

    flags = recipe_flags(ctx)
    given = recipe is not None or any(value is not None for value in flags.values())
    kept = saved_recipe(out) if resume and not given else None
    chosen = kept or make_recipe(recipe, **flags)
    try:
        bundle = run_training(
            data, out, chosen, resume=resume, overwrite=overwrite, runs_db=runs, tensorboard=tensorboard
        )
    except KeyboardInterrupt as error:
        note = "to go on, repeat the command with --resume" if saved_recipe(out) else ""
        raise KeyboardInterrupt(note) from error
    if os.environ.get("RANK", "0") != "0":  # under torchrun one process speaks for all
        return
    summary = bundle.manifest.training
    typer.echo(f"{out}: validation accuracy {summary['validation_accuracy']:.2%} in epoch {summary['best_epoch']}")
    typer.echo(f"next: {shlex.join(['vegrt', 'export', str(out), '--data', str(data)])}")


def _check_qat(ctx: typer.Context, qat: str | None, out: Path) -> None:
    """Raise VegrtError for flags that do not go with --qat."""
    from vegrt.errors import VegrtError, require
    from vegrt.train.qat_defaults import SETTLED

    if qat is None:
        return
    require("onnx_ir", "export")
    if given := [f"--{name}" for name in SETTLED if ctx.params.get(name) is not None]:
        raise VegrtError(f"--qat {qat}: the bundle settles {', '.join(given)} already; omit it")
    if Path(qat).resolve() == out.resolve():
        raise VegrtError(f"--out {out}: the bundle of --qat would be replaced; choose another --out")


def recipe_flags(ctx: typer.Context) -> dict[str, Any]:
    """Return the command's options that are keys of the recipe; None for one that was not given."""
    from vegrt.train.recipe import Recipe

    known = {field.name for field in fields(Recipe)}
    return {name.rstrip("_"): value for name, value in ctx.params.items() if name.rstrip("_") in known}
