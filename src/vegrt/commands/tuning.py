"""vegrt tune: photos to a recipe and its bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options.shared import DataOption, JsonOption, show
from vegrt.commands.training import (
    BackboneOption,
    BatchSizeOption,
    EpochsHeadOption,
    EpochsOption,
    HeadOption,
    RecipeOption,
    RunsOption,
    SeedOption,
    SizeOption,
    WeightsOption,
    recipe_flags,
)


def tune(
    ctx: typer.Context,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder of the study; its best bundle is OUT/best.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of an interrupted call included.")],
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    recipe: RecipeOption = None,
    head: HeadOption = None,
    size: SizeOption = None,
    epochs: EpochsOption = None,
    epochs_head: EpochsHeadOption = None,
    batch_size: BatchSizeOption = None,
    seed: SeedOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let a better trial replace OUT/best although it was exported.")
    ] = False,
    runs: RunsOption = Path("runs.db"),
    as_json: JsonOption = False,
) -> None:
    """Find a better recipe by trials.

    Searches learning rates, weight decay, augmentation and frozen stages, around the recipe's own values, by the loss on
    DATA/validation. After an interruption the same command goes on. OUT/best.toml is the best recipe, for train --recipe.
    """
    from vegrt.errors import require

    require("torchvision", "train")
    require("optuna", "tune")
    from vegrt.train.recipe import make_recipe
    from vegrt.train.tune.trials import trials_table
    from vegrt.train.tune.tune import tune as run_tuning

    start = make_recipe(recipe, **recipe_flags(ctx))
    tuned = run_tuning(data, out, start, trials=trials, overwrite=overwrite, runs_db=runs)
    if as_json:
        show(tuned.to_dict(), True)
        return
    show(trials_table(tuned.trials), False)
    if tuned.importance:
        typer.echo("importance: " + ", ".join(f"{name} {share:.0%}" for name, share in tuned.importance.items()))
    again = tuned.best.with_name("again")
    words = ["vegrt", "train", "--data", str(data), "--recipe", str(tuned.recipe), "--out", str(again)]
    typer.echo(f"best: {tuned.best}, made again by: {shlex.join(words)}")
    typer.echo(f"next: {shlex.join(['vegrt', 'export', str(tuned.best), '--data', str(data)])}")
