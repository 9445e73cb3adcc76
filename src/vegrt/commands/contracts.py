"""vegrt contract guess: find out how the photos of an ONNX classifier are to be prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options.shared import JsonOption, OverwriteFileOption, show
from vegrt.errors import require

app = typer.Typer(no_args_is_help=True, help="Find the preprocessing contract of a classifier.")


@app.callback()
def _group() -> None:
    """Without a callback, a group of one command is that command."""


@app.command("guess")
def contract_guess(
    from_onnx: Annotated[Path, typer.Option(help="ONNX classifier, float32, as for export.")],
    data: Annotated[
        Path,
        typer.Option(
            "--data", help="Data folder or CSV file, of which validation is used, or a folder of class folders."
        ),
    ],
    classes: Annotated[
        Path | None,
        typer.Option(help="Its class names, in the order of its scores (default: the class folders, sorted)."),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Name of its output with the class scores, if it has several outputs.")
    ] = None,
    photos: Annotated[
        int, typer.Option(min=8, help="Use at most this many photos; more than 128 only if these leave a doubt.")
    ] = 400,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="TOML file to write the best contract to.")] = None,
    overwrite: OverwriteFileOption = False,
    as_json: JsonOption = False,
) -> None:
    """Guess which contract an ONNX classifier was trained with.

    Tries normalisations, channel orders, fits, margins and interpolations on labelled photos, and ranks them by the probability
    that the classifier gives to the right classes. Prints the best contract, and the contracts that cannot be told apart from it.
    """
    for module in ("onnx", "onnxruntime"):
        require(module, "export")
    from vegrt.bundle.overwriting import check_no_file
    from vegrt.dataset.photos import read_labelled
    from vegrt.export.guess.guess import guess_contract
    from vegrt.export.guess.text import contract_toml, export_command, guess_lines, guess_table
    from vegrt.export.imported.class_list import read_classes
    from vegrt.files.atomic import write_text

    if out:
        check_no_file(out, overwrite=overwrite)
    split = read_labelled(data, read_classes(classes) if classes else None)
    guess = guess_contract(from_onnx, split, output=output or "", photos=photos)
    toml = contract_toml(guess.best.contract)
    command = export_command(from_onnx, data, classes=classes, contract=out, output=output or "")
    if out:
        write_text(out, toml)
    if as_json:
        show(guess.to_dict() | {"toml": toml, "command": command}, True)
        return
    show(guess_table(guess), False)
    typer.echo("\n".join([*guess_lines(guess), "", *([] if out else ["# contract.toml", toml]), command]))
