"""Compares two epochs of augmented batches from memory with those from disk and from worker processes; run by test_loader.py."""

from __future__ import annotations

import multiprocessing
import sys
from functools import partial
from pathlib import Path

import torch

from vegrt.dataset.photos import read_split
from vegrt.photo.contract import Contract
from vegrt.train.data.loader import Batch, BatchLoader, epoch_batches
from vegrt.train.data.samples import DecodedPhotos, InputTransform, Samples, decode_photos, read_uncropped

CONTRACT, CPU = Contract(32, 32), torch.device("cpu")
MEMORY_BYTES = 1 << 30


def load_epochs(photos: DecodedPhotos, workers: int) -> tuple[list[Batch], list[set[int]]]:
    """Return the batches of two epochs, and the process ids of the workers after each of them."""
    loader = BatchLoader(Samples(photos, InputTransform(CONTRACT, "full")), workers, CPU)
    batches: list[Batch] = []
    processes: list[set[int]] = []
    for epoch in (1, 2):
        batches += loader.load(epoch_batches(24, 12, seed=3, epoch=epoch))
        processes.append({child.pid or 0 for child in multiprocessing.active_children()})
    return batches, processes


def main(data: Path) -> None:
    def photos(budget_bytes: int) -> DecodedPhotos:
        return decode_photos(read_split(data, "train"), partial(read_uncropped, contract=CONTRACT), budget_bytes)

    reference, _ = load_epochs(photos(MEMORY_BYTES), workers=0)
    assert [batch[0].shape for batch in reference] == [(12, 32, 32, 3)] * 4
    assert reference[0][0].dtype == torch.uint8
    for name, budget_bytes, workers in (("disk", 1000, 0), ("workers", MEMORY_BYTES, 2)):
        batches, processes = load_epochs(photos(budget_bytes), workers)
        pairs = [pair for batch in zip(reference, batches, strict=True) for pair in zip(*batch, strict=True)]
        is_same = all(torch.equal(first, second) for first, second in pairs)
        sys.stdout.write(f"{name} {'equal' if is_same else 'DIFFERS'}\n")
    assert multiprocessing.active_children() == [], "the workers outlived their loader"
    if processes[0] == processes[1]:
        sys.stdout.write(f"the same {len(processes[0])} workers in both epochs\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
