"""vegrt data: make, fetch, audit and split data folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options.shared import JsonOption, OverwriteFileOption, show
from vegrt.errors import DataError, require

app = typer.Typer(no_args_is_help=True, help="Draw, download, audit and split data sets.")


@app.command("sample")
def data_sample(
    out: Annotated[Path, typer.Argument(help="New folder for the data set.")],
    seed: Annotated[int, typer.Option(help="Seed of the drawings.")] = 0,
    train: Annotated[int, typer.Option(min=1, help="Training images per class.")] = 100,
    validation: Annotated[int, typer.Option(min=1, help="Validation images per class.")] = 40,
    test: Annotated[int, typer.Option(min=1, help="Test images per class.")] = 100,
) -> None:
    """Draw the embedded sample set.

    Writes train/, validation/ and test/ with 15 classes of vegetables, drawn by a program. Nothing is downloaded.
    """
    from vegrt.train.sample.sample_set import SampleSizes, write_sample_set

    count = write_sample_set(out, SampleSizes(train, validation, test), seed)
    typer.echo(f"{out}: {count} images of 15 classes")


@app.command("fetch")
def data_fetch(
    out: Annotated[Path, typer.Argument(help="Folder for the data set.")],
    name: Annotated[str, typer.Option(help="Data set: vegetables, beans, eurosat or pets.")] = "vegetables",
) -> None:
    """Download a public data set.

    Verifies its counts. A folder that already contains photos is only verified. Interrupted downloads are resumed.

    vegetables: 15 classes, 21,000 photos of 224x224, from Kaggle; licence: see its page there.

    beans: diseases of bean leaves, 3 classes, 1,295 photos of 500x500, 180 MB, from the Hugging Face Hub; MIT.

    eurosat: land use from satellites, 10 classes, 27,000 images of 64x64, 92 MB, from the Hugging Face Hub; MIT.

    pets: breeds of cats and dogs, 37 classes, 7,349 photos, 791 MB, from the Hugging Face Hub; CC BY-SA 4.0. Has no validation
    split: split.csv, for --data, has one of 15 % of train.
    """
    from vegrt.train.data.public.fetch import fetch
    from vegrt.train.data.public.sets import find_set

    fetched = fetch(out, find_set(name))
    for split, counts in fetched.counts.items():
        typer.echo(f"{out}/{split}: {sum(counts.values()):,} photos of {len(counts)} classes")
    if fetched.held_out:
        typer.echo(f"{fetched.data}: {fetched.held_out.summary()}; use it as --data")


@app.command("audit")
def data_audit(
    data: Annotated[Path, typer.Argument(help="Folder with train/, validation/ and test/ in it, or a CSV file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for audit.json and audit.html.")] = Path("audit"),
    as_json: JsonOption = False,
) -> None:
    """Find duplicates and leaks between splits.

    Counts the photos and lists unreadable photos, unusual sizes, duplicates and near duplicates. Writes audit.json, audit.html.
    """
    from vegrt.report.run.audit_page import write_audit
    from vegrt.train.data.audit import audit
    from vegrt.train.data.audit_file import summary_lines

    require("jinja2", "report")  # before the photos are read: they may take minutes
    result = audit(data)
    write_audit(result, data, out)
    show(result.to_dict(), True) if as_json else typer.echo(
        "\n".join([*summary_lines(result), f"{out / 'audit.html'}"])
    )


@app.command("split")
def data_split(
    data: Annotated[Path, typer.Argument(help="Folder with train/, validation/ and test/ in it, or a CSV file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write; use it as --data of other commands.")],
    fractions: Annotated[
        str, typer.Option(help="Shares of train, validation and test; their sum is 1.")
    ] = "0.7,0.15,0.15",
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    overwrite: OverwriteFileOption = False,
    as_json: JsonOption = False,
) -> None:
    """Split a data set without leaks.

    Photos of a scene stay in the same split, and every class keeps its shares. Writes a CSV file and copies no photos.
    """
    from vegrt.bundle.overwriting import check_no_file
    from vegrt.train.data.audit import audit
    from vegrt.train.data.split import read_fractions, write_split

    check_no_file(out, overwrite=overwrite)
    if out.suffix != ".csv":
        raise DataError(f"{out}: expected a name that ends in .csv")
    shares = read_fractions(fractions)
    new_split = write_split(data, audit(data), out, fractions=shares, seed=seed)
    if as_json:
        moved = {"test_photos": new_split.tested, "test_photos_moved": new_split.moved}
        show({"file": str(out), "counts": new_split.counts, **moved}, True)
        return
    for split, counts in new_split.counts.items():
        typer.echo(f"{out}: {split} {sum(counts.values())} photos of {len(counts)} classes")
    if warning := new_split.warning():
        typer.echo(f"{out}: {warning}")
