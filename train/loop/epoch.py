"""An epoch of the second phase, while its steps are taken."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from torch import Tensor

from vegrt.train.data.loader import epoch_batches
from vegrt.train.data.samples import Draw
from vegrt.train.loop.optimizer import Schedule
from vegrt.train.recipe import Recipe


@dataclass(slots=True)
class Epoch:
    """An epoch in progress. batches: for all processes together. steps_before: in earlier epochs of the phase.

    unread: the measures of the steps since the last read, still on the device. read_at: time of that read, in seconds.
    """

    number: int
    batches: list[list[Draw]]
    schedule: Schedule
    steps_before: int
    unread: list[Tensor] = field(default_factory=list)
    read_at: float = field(default_factory=time.perf_counter)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step of this epoch, if no step was skipped before it."""
        return self.schedule.rate(self.steps_before + step)

    def seconds_since_read(self) -> float:
        """Return the time since the last call, or since the start of the epoch."""
        last_read_at, self.read_at = self.read_at, time.perf_counter()
        return self.read_at - last_read_at


def start_epoch(recipe: Recipe, number: int, photos: int) -> Epoch:
    """Return an epoch over so many photos. number: counted from 1, with the epochs of the head."""
    batches = epoch_batches(photos, recipe.batch_size, seed=recipe.seed, epoch=number)
    schedule = Schedule(recipe.epochs * len(batches), recipe.lr, recipe.warmup)
    return Epoch(number, batches, schedule, steps_before=(number - recipe.epochs_head - 1) * len(batches))
