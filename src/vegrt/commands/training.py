"""vegrt train: photos to a bundle."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vegrt.commands.options.recipe import RecipeOption, RunsOption, recipe_options
from vegrt.commands.options.shared import DataOption


@recipe_options()
def train(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Bundle folder to write, such as models/resnet18.")],
    recipe: RecipeOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the interrupted training in --out.")] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the bundle in --out with its models and results, or discard the unfinished training in it.",
        ),
    ] = False,
    runs: RunsOption = Path("runs.db"),
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for the TensorBoard scalars of every epoch (default: none).")
    ] = None,
    **flags: Any,
) -> None:
    """Train on DATA and write a bundle.

    Trains on DATA/train and selects the epoch by DATA/validation; DATA/test is not read. Without --resume or --overwrite, a
    bundle or an unfinished training in --out is left unchanged. Ctrl-C and SIGTERM save the state that --resume needs.
    """
    from vegrt.errors import require

    require("torchvision", "train")
    _check_qat(flags, out)
    from vegrt.train.fit import saved_recipe
    from vegrt.train.fit import train as run_training
    from vegrt.train.recipe import make_recipe

    is_given = recipe is not None or any(value is not None for value in flags.values())
    saved = saved_recipe(out) if resume and not is_given else None
    settings = saved or make_recipe(recipe, **flags)
    try:
        bundle = run_training(
            data, out, settings, resume=resume, overwrite=overwrite, runs_db=runs, tensorboard=tensorboard
        )
    except KeyboardInterrupt as error:
        note = "to continue, repeat the command with --resume" if saved_recipe(out) else ""
        raise KeyboardInterrupt(note) from error
    if os.environ.get("RANK", "0") != "0":  # under torchrun only the first process prints
        return
    summary = bundle.manifest.training
    typer.echo(f"{out}: validation accuracy {summary['validation_accuracy']:.2%} in epoch {summary['best_epoch']}")
    typer.echo(f"next: {shlex.join(['vegrt', 'export', str(out), '--data', str(data)])}")


def _check_qat(flags: Mapping[str, Any], out: Path) -> None:
    """Raise VegrtError for flags that cannot be combined with --qat."""
    from vegrt.errors import VegrtError, require
    from vegrt.train.qat_defaults import SETTLED

    qat = flags["qat"]
    if qat is None:
        return
    require("onnx_ir", "export")
    if settled := [f"--{name}" for name in SETTLED if flags[name] is not None]:
        raise VegrtError(f"--qat {qat}: the bundle already determines {', '.join(settled)}; omit it")
    if Path(qat).resolve() == out.resolve():
        raise VegrtError(f"--out {out}: is also the bundle of --qat, which would be replaced; choose another --out")
