"""vegrt train: photos to a bundle."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from vegrt.commands.options import DataOption


class Backbone(str, Enum):
    """What --backbone takes; the table is vegrt.networks.BACKBONES, which this file must not import."""

    resnet18 = "resnet18"
    resnet50 = "resnet50"
    vgg16 = "vgg16"
    efficientnet_b0 = "efficientnet_b0"
    mobilenet_v2 = "mobilenet_v2"


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
