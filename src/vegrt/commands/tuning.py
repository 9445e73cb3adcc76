"""vegrt tune: photos to a recipe and its bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from vegrt.commands.options.recipe import RecipeOption, RunsOption, recipe_options
from vegrt.commands.options.shared import DataOption, JsonOption, show

_FLAGS = ("backbone", "weights", "head", "size", "epochs", "epochs_head", "batch_size", "seed")


@recipe_options(_FLAGS)
def tune(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder of the study; its best bundle is OUT/best.")],
    trials: Annotated[
        int, typer.Option(min=1, help="Number of trials, including those of earlier calls with the same --out.")
    ],
    recipe: RecipeOption = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Let a better trial replace OUT/best, even if it has models or results."),
    ] = False,
    runs: RunsOption = Path("runs.db"),
    as_json: JsonOption = False,
    **flags: Any,
) -> None:
    """Search for a better recipe.

    Tries learning rates, weight decay, augmentation and frozen stages around the recipe's values, judged by the loss on
    DATA/validation. After an interruption, repeat the command to continue. OUT/best.toml is the best recipe, for train --recipe.
    """
    from vegrt.errors import require

    require("torchvision", "train")
    require("optuna", "tune")
    from vegrt.train.recipe import make_recipe
    from vegrt.train.tune.trials import trials_table
    from vegrt.train.tune.tune import tune as run_tuning

    result = run_tuning(data, out, make_recipe(recipe, **flags), trials=trials, overwrite=overwrite, runs_db=runs)
    if as_json:
        show(result.to_dict(), True)
        return
    show(trials_table(result.trials), False)
    if result.importance:
        typer.echo("importance: " + ", ".join(f"{name} {share:.0%}" for name, share in result.importance.items()))
    new_out = result.best.with_name("again")
    words = ["vegrt", "train", "--data", str(data), "--recipe", str(result.recipe), "--out", str(new_out)]
    typer.echo(f"best: {result.best}; train it again: {shlex.join(words)}")
    typer.echo(f"next: {shlex.join(['vegrt', 'export', str(result.best), '--data', str(data)])}")
