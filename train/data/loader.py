"""Loads the batches of an epoch. Seed and epoch alone determine which photos are in a batch, and how they are augmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vegrt.terminal.interrupts import holding_interrupts, leave_interrupts
from vegrt.train.data.machine_share import share_of_cores
from vegrt.train.data.samples import Draw, Samples

Batch = tuple[Tensor, Tensor]  # images uint8 (N, H, W, 3), or activations; labels int64 (N,)
MAX_WORKERS = 8


def epoch_batches(count: int, batch_size: int, *, seed: int, epoch: int) -> list[list[Draw]]:
    """Return the shuffled batches of an epoch: a function of the arguments only.

    A smaller last batch is dropped, because batch normalisation cannot use a batch of one.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(count, generator=generator).tolist()
    seeds = torch.randint(2**62, (count,), generator=generator).tolist()
    draws = [Draw(index, seed) for index, seed in zip(order, seeds, strict=True)]
    steps = steps_per_epoch(count, batch_size)
    return [draws[step * batch_size : (step + 1) * batch_size] for step in range(steps)]


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the number of batches of an epoch over so many photos."""
    return max(1, count // batch_size)


def ordered_batches(count: int, batch_size: int) -> list[list[Draw]]:
    """Return batches of all photos, in their own order."""
    return [[Draw(index) for index in range(low, min(low + batch_size, count))] for low in range(0, count, batch_size)]


class BatchLoader:
    """Loads batches of a set of photos, epoch after epoch, with the same worker processes.

    workers: their number; -1 starts none where the pixels are in memory and the device is a CPU, else up to MAX_WORKERS. They
    are forked, so they share the pixels instead of copying them.
    device: where the batches are used; for a GPU they are in pinned memory, from which copies are asynchronous.
    """

    def __init__(self, samples: Samples, workers: int, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        if workers < 0:
            workers = min(MAX_WORKERS, share_of_cores()) if on_gpu or not samples.in_memory else 0
        self._batches: list[list[Draw]] = []
        self._loader = _Loader(
            samples,
            batch_sampler=self._batches,  # DataLoader iterates over it again in every epoch
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=on_gpu,
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=lambda worker: leave_interrupts(),
        )

    def load(self, batches: Sequence[list[Draw]]) -> Iterator[Batch]:
        """Yield these batches in their order. Ends what is left of an earlier call."""
        self._batches[:] = batches
        return iter(self._loader)


class _Loader(DataLoader[Any]):
    """Starts its workers with Ctrl-C and SIGTERM blocked: a worker must not end before it has left them to the parent."""

    def __iter__(self) -> Any:
        with holding_interrupts():
            return super().__iter__()
