"""vegrt.train: photos to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vegrt.api.call import api_function
from vegrt.commands.options.recipe import RecipePath, RunsPath, recipe_keywords
from vegrt.commands.options.shared import DataPath

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from vegrt.api.outcomes import Trained
    from vegrt.train.recipe import Settings

OutPath = Annotated[str | Path, typer.Option("--out", help="Bundle folder to write, such as models/resnet18.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Resume the interrupted training in --out.")]
OverwriteBundleOption = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace the bundle in --out with its models and results, or discard the unfinished training in it.",
    ),
]
TensorboardPath = Annotated[
    str | Path | None,
    typer.Option("--tensorboard", help="Folder for the TensorBoard scalars of every epoch (default: none)."),
]


@api_function
@recipe_keywords
def train(
    data: DataPath,
    out: OutPath,
    *,
    recipe: RecipePath = None,
    resume: ResumeOption = False,
    overwrite: OverwriteBundleOption = False,
    runs: RunsPath = "runs.db",
    tensorboard: TensorboardPath = None,
    progress: bool | None = None,
    **settings: Unpack[Settings],
) -> Trained:
    """Train on DATA/train, choose the epoch by DATA/validation, and write a bundle.

    The keywords from `backbone` on are entries of the recipe, such as `epochs=8`; they take precedence over the file
    `recipe`. Without any, `resume` takes the recipe of the interrupted training.
    DATA/test is not read. Until the training has finished, OUT/.train holds its state; Ctrl-C saves what `resume` needs.
    Raises VegrtError if `out` holds a bundle or an unfinished training and neither `resume` nor `overwrite` applies,
    MissingExtraError without the `train` extra, DataError for photos that cannot be used.
    """
    from vegrt.errors import require

    require("torchvision", "train")
    flags: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    _check_qat(flags, Path(out))
    from vegrt.api.outcomes import Trained
    from vegrt.train.fit import saved_recipe
    from vegrt.train.fit import train as run_training
    from vegrt.train.recipe import make_recipe

    saved = saved_recipe(Path(out)) if resume and recipe is None and not flags else None
    bundle = run_training(
        Path(data),
        Path(out),
        saved or make_recipe(None if recipe is None else Path(recipe), **flags),
        resume=resume,
        overwrite=overwrite,
        runs_db=Path(runs),
        tensorboard=None if tensorboard is None else Path(tensorboard),
    )
    return Trained(bundle)


def _check_qat(flags: dict[str, Any], out: Path) -> None:
    """Raise VegrtError for settings that cannot be combined with --qat."""
    from vegrt.errors import VegrtError, require
    from vegrt.train.qat_defaults import SETTLED

    qat = flags.get("qat")
    if qat is None:
        return
    require("onnx_ir", "export")
    if settled := [f"--{name}" for name in SETTLED if flags.get(name) is not None]:
        raise VegrtError(f"--qat {qat}: the bundle already determines {', '.join(settled)}; omit it")
    if Path(qat).resolve() == out.resolve():
        raise VegrtError(f"--out {out}: is also the bundle of --qat, which would be replaced; choose another --out")
