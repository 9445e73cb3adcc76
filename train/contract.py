"""The preprocessing contract that a training produces."""

from __future__ import annotations

from pathlib import Path

from vegrt.backbones import contract_of
from vegrt.bundle.bundle import open_bundle
from vegrt.photo.contract import Contract
from vegrt.train.recipe import Recipe


def contract_of_recipe(recipe: Recipe) -> Contract:
    """Return the contract: that of the bundle in `qat`, or the backbone's with the recipe's size, fit and interpolation.

    Raises ModelError for a size or an interpolation that the backbone does not allow.
    """
    if recipe.qat:
        return open_bundle(Path(recipe.qat), verify=False).manifest.contract
    return contract_of(
        recipe.backbone,
        recipe.sides,
        fit=None if recipe.fit == "auto" else recipe.fit,
        interpolation=None if recipe.interpolation == "auto" else recipe.interpolation,
    )
