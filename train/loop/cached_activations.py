"""Caches the activations of frozen stages for a few versions of each photo, instead of computing them in every epoch.

With ResNet50 frozen until layer3, an epoch takes a fifth of the time, but sees less variety: version 0 is the photo without
augmentation, the others are augmented, and each epoch draws one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vegrt.errors import ModelError, VegrtError
from vegrt.terminal.progress import track
from vegrt.train.data.loader import BatchLoader, ordered_batches
from vegrt.train.data.samples import Draw, Samples
from vegrt.train.loop.device import precision
from vegrt.train.loop.learner import Learner
from vegrt.train.loop.transfer import on_device
from vegrt.train.recipe import Recipe

log = logging.getLogger(__name__)

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


@dataclass(frozen=True, slots=True)
class CachedSets:
    """Both sets as the training uses them. versions: number of cached versions of each photo; 0 where nothing is cached."""

    train: Samples
    validation: Samples
    versions: int


def cache_activations(
    learner: Learner, train: Samples, validation: Samples, *, limit_bytes: int, decided: int | None = None
) -> CachedSets:
    """Return both sets as activations of the learner's frozen stages, which it then skips.

    Caches the recipe's number of `views`, or as many as fit into `limit_bytes`. Returns both sets unchanged when no augmented
    version fits, or when the network cannot be split. Every process caches all photos, and all cache the same versions.
    decided: the number of versions at the start of a resumed training, because another number would give other weights. Raises
    VegrtError when they do not fit any more.
    """
    unchanged = CachedSets(train, validation, 0)
    try:
        prefix = learner.frozen_part()
    except ModelError as error:
        log.warning("%s; computing its frozen stages at every step", error)
        return unchanged
    stages = _FrozenStages(prefix, learner.device, learner.recipe)
    version_bytes = stages.activations(train.plain(), [[Draw(0)]])[0].nbytes
    fitting = (limit_bytes // version_bytes - len(validation.photos)) // len(train.photos)
    if decided is not None and decided > fitting:
        needed_mib = (decided * len(train.photos) + len(validation.photos)) * version_bytes >> 20
        raise VegrtError(
            f"{decided} cached versions of each photo need {needed_mib:,} MiB, expected at most {limit_bytes >> 20:,} MiB, "
            "half of the available memory; free some memory, then repeat with --resume"
        )
    versions = decided if decided is not None else min(learner.processes.gather([_choose(learner.recipe, fitting)]))
    if not versions:
        return unchanged
    log.info("caching activations after %s for %d version(s) of each photo", learner.recipe.freeze_until, versions)
    cached = [stages.version(train if number else train.plain(), number) for number in range(versions)]
    batches = ordered_batches(len(validation.photos), BATCH)
    validation_activations = stages.activations(validation, batches, "validation")
    learner.skip_frozen()
    return CachedSets(
        CachedActivations(train, cached), CachedActivations(validation, [validation_activations]), versions
    )


def _choose(recipe: Recipe, fitting: int) -> int:
    """Return how many versions of each photo to cache; 0 when not even one augmented version fits."""
    requested = 1 if recipe.augment == "none" else recipe.views
    versions = max(0, min(requested, fitting))
    if versions < min(2, requested):
        log.warning("activations after %s do not fit into memory; computing them at every step", recipe.freeze_until)
        return 0
    if versions < requested:
        log.warning("only %d of %d versions of each photo fit into memory", versions, requested)
    return versions


@dataclass(frozen=True, slots=True)
class _FrozenStages:
    """The frozen stages, on their device, to compute activations with."""

    prefix: nn.Module
    device: torch.device
    recipe: Recipe

    def version(self, samples: Samples, number: int) -> list[Tensor]:
        """Return the activations of one version of all photos; each photo has its own seed for this version."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + number)
        count = len(samples.photos)
        seeds = torch.randint(2**62, (count,), generator=generator).tolist()
        batches = [[Draw(draw.photo, seeds[draw.photo]) for draw in batch] for batch in ordered_batches(count, BATCH)]
        return self.activations(samples, batches, f"version {number + 1}")

    @torch.no_grad()
    def activations(self, samples: Samples, batches: list[list[Draw]], description: str = "") -> list[Tensor]:
        """Return one tensor for each photo, on the CPU: float16, or float32 where float16 would overflow."""
        self.prefix.eval()
        activations: list[Tensor] = []
        loaded = on_device(BatchLoader(samples, self.recipe.workers, self.device).load(batches), self.device)
        for images, _ in track(loaded, f"frozen stages, {description}", len(batches)) if description else loaded:
            with precision(self.device):
                values = (
                    self.prefix(images).float().cpu()
                )  # the host holds them: a GPU waits once per batch, in one pass only
            half = values.to(torch.float16)
            activations += (half if bool(half.isfinite().all()) else values).unbind()
        return activations
