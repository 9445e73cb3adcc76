"""vegrt train: photos to a bundle."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import typer

from vegrt.api.training import train as run_training
from vegrt.commands.options.derived import options_of
from vegrt.commands.options.shared import JsonOption, show


@options_of(run_training)
def train(*, as_json: JsonOption = False, **options: Any) -> None:
    """Train on DATA and write a bundle.

    Trains on DATA/train and selects the epoch by DATA/validation; DATA/test is not read. Without --resume or --overwrite, a
    bundle or an unfinished training in --out is left unchanged. Ctrl-C and SIGTERM save the state that --resume needs.
    """
    out: Path = options["out"]
    try:
        trained = run_training(**options)
    except KeyboardInterrupt as error:
        from vegrt.train.fit import saved_recipe

        note = "to continue, repeat the command with --resume" if saved_recipe(out) else ""
        raise KeyboardInterrupt(note) from error
    if os.environ.get("RANK", "0") != "0":  # under torchrun only the first process prints
        return
    if as_json:
        show(trained.to_dict(), True)
        return
    typer.echo(f"{out}: validation accuracy {trained.validation_accuracy:.2%} in epoch {trained.best_epoch}")
    typer.echo(f"next: {shlex.join(['vegrt', 'export', str(out), '--data', str(options['data'])])}")
