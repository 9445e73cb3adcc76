"""Activations of frozen stages, computed once for a few versions of each photo and read back in every epoch.

Behind layer3 of ResNet50 an epoch then costs a fifth of what it did, at the price of variety: version 0 is the photo as
inference sees it, the others are augmented, and an epoch draws one of them.
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
    """Activations as (float32, label), by Draw. versions: per version, one tensor for each photo, float16 or float32."""

    def __init__(self, samples: Samples, versions: Sequence[Sequence[Tensor]]) -> None:
        super().__init__(samples.photos, samples.finish)
        self.versions = versions

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        """Return the version that the draw's seed names; 0 is the photo without augmentation."""
        activations = self.versions[draw.seed % len(self.versions)][draw.photo]
        return activations.to(torch.float32), self.photos.photos[draw.photo].label

    def plain(self) -> Samples:
        """Return the first version only."""
        return CachedActivations(self, self.versions[:1])

    @property
    def in_memory(self) -> bool:
        """Always: nothing has to be decoded."""
        return True


def cache_activations(learner: Learner, train: Samples, validation: Samples) -> tuple[Samples, Samples]:
    """Return both sets as activations of the learner's frozen stages, which it then skips.

    As many versions as the recipe's `views` or as fit into the memory limit. Where there is no room for an augmented one, or the
    network cannot be split, both are returned unchanged. Every process caches all of them.
    """
    recipe = learner.recipe
    requested = 1 if recipe.augment == "none" else recipe.views
    try:
        prefix = learner.frozen_part()
    except ModelError as error:
        log.warning("%s; its frozen stages are computed at every step", error)
        return train, validation
    plain = train.plain()
    size_bytes = _activations(prefix, plain, [[Draw(0)]], learner.device, recipe.workers, "")[0].nbytes
    views = min(requested, (ACTIVATION_CACHE_BYTES // size_bytes - len(validation.photos)) // len(train.photos))
    if views < min(2, requested):
        log.warning("activations behind %s do not fit into memory; computing them at every step", recipe.freeze_until)
        return train, validation
    if views < requested:
        log.warning("only %d of %d versions of each photo fit into memory", views, requested)
    log.info("caching %d version(s) of each photo behind %s", views, recipe.freeze_until)
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
    """Return all photos in their own order, each with a seed of its own for this view."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + view)
    seeds = torch.randint(2**62, (count,), generator=generator).tolist()
    return [[Draw(draw.photo, seeds[draw.photo]) for draw in batch] for batch in ordered_batches(count, BATCH)]


@torch.no_grad()
def _activations(
    prefix: nn.Module, samples: Samples, batches: list[list[Draw]], device: torch.device, workers: int, what: str
) -> list[Tensor]:
    """Return one tensor for each photo, on the CPU: float16 where its values allow it."""
    prefix.eval()
    activations: list[Tensor] = []
    loaded = make_data_loader(samples, batches, workers)
    for images, _ in track(loaded, f"frozen stages, {what}", len(batches)) if what else loaded:
        with precision(device):
            values = prefix(images.to(device)).float().cpu()
        half = values.to(torch.float16)
        activations += (half if bool(half.isfinite().all()) else values).unbind()
    return activations
