"""Caches the activations of frozen stages for a few versions of each photo, instead of computing them in every epoch.

With ResNet50 frozen until layer3, an epoch takes a fifth of the time, but sees less variety: version 0 is the photo without
augmentation, the others are augmented, and each epoch draws one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vegrt.errors import ModelError
from vegrt.terminal.progress import track
from vegrt.train.data.loader import Draw, Samples, make_data_loader, ordered_batches
from vegrt.train.loop.device import precision
from vegrt.train.loop.learner import Learner

log = logging.getLogger(__name__)

ACTIVATION_CACHE_BYTES = 4 << 30  # for training and validation together
BATCH = 64


class CachedActivations(Samples):
    """Activations as (float32, label), indexed by Draw. versions: for each version a float16 or float32 tensor per photo."""

    def __init__(self, samples: Samples, versions: Sequence[Sequence[Tensor]]) -> None:
        super().__init__(samples.photos, samples.finish)
        self.versions = versions

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        """Return the version that the seed of the draw selects; 0 is the photo without augmentation."""
        activations = self.versions[draw.seed % len(self.versions)][draw.photo]
        return activations.to(torch.float32), self.photos.photos[draw.photo].label

    def plain(self) -> Samples:
        """Return the first version only."""
        return CachedActivations(self, self.versions[:1])

    @property
    def in_memory(self) -> bool:
        """Always true: nothing has to be decoded."""
        return True


def cache_activations(learner: Learner, train: Samples, validation: Samples) -> tuple[Samples, Samples]:
    """Return both sets as activations of the learner's frozen stages, which it then skips.

    Caches the recipe's number of `views`, or as many as fit into ACTIVATION_CACHE_BYTES. Returns both sets unchanged when no
    augmented version fits, or when the network cannot be split. Every process caches all photos.
    """
    recipe = learner.recipe
    requested = 1 if recipe.augment == "none" else recipe.views
    try:
        prefix = learner.frozen_part()
    except ModelError as error:
        log.warning("%s; computing its frozen stages at every step", error)
        return train, validation
    plain = train.plain()
    size_bytes = _activations(prefix, plain, [[Draw(0)]], learner.device, recipe.workers, "")[0].nbytes
    views = min(requested, (ACTIVATION_CACHE_BYTES // size_bytes - len(validation.photos)) // len(train.photos))
    if views < min(2, requested):
        log.warning("activations after %s do not fit into memory; computing them at every step", recipe.freeze_until)
        return train, validation
    if views < requested:
        log.warning("only %d of %d versions of each photo fit into memory", views, requested)
    log.info("caching activations after %s for %d version(s) of each photo", recipe.freeze_until, views)
    versions = []
    for view in range(views):
        samples = train if view else plain
        batches = _batches(len(train.photos), recipe.seed, view)
        versions.append(_activations(prefix, samples, batches, learner.device, recipe.workers, f"version {view + 1}"))
    batches = ordered_batches(len(validation.photos), BATCH)
    validation_activations = _activations(prefix, validation, batches, learner.device, recipe.workers, "validation")
    learner.skip_frozen()
    return CachedActivations(train, versions), CachedActivations(validation, [validation_activations])


def _batches(count: int, seed: int, view: int) -> list[list[Draw]]:
    """Return batches of all photos in their own order; each photo has its own seed for this view."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + view)
    seeds = torch.randint(2**62, (count,), generator=generator).tolist()
    return [[Draw(draw.photo, seeds[draw.photo]) for draw in batch] for batch in ordered_batches(count, BATCH)]


@torch.no_grad()
def _activations(
    prefix: nn.Module, samples: Samples, batches: list[list[Draw]], device: torch.device, workers: int, description: str
) -> list[Tensor]:
    """Return one tensor for each photo, on the CPU: float16, or float32 where float16 would overflow."""
    prefix.eval()
    activations: list[Tensor] = []
    loader = make_data_loader(samples, batches, workers)
    for images, _ in track(loader, f"frozen stages, {description}", len(batches)) if description else loader:
        with precision(device):
            values = prefix(images.to(device)).float().cpu()
        half = values.to(torch.float16)
        activations += (half if bool(half.isfinite().all()) else values).unbind()
    return activations
