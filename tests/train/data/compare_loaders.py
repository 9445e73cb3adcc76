"""Compare augmented batches from memory with those from disk and from worker processes; run by test_loader.py."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import torch

from vegrt.dataset.photos import read_split
from vegrt.photo.preprocess import Contract
from vegrt.train.data.loader import (
    DecodedPhotos,
    InputTransform,
    Samples,
    decode_photos,
    epoch_batches,
    make_data_loader,
    read_uncropped,
)

CONTRACT = Contract(32, 32)
MEMORY_BYTES = 1 << 30


def batches_of(photos: DecodedPhotos, workers: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(
        make_data_loader(
            Samples(photos, InputTransform(CONTRACT, "full")), epoch_batches(24, 12, seed=3, epoch=1), workers
        )
    )


def main(data: Path) -> None:
    def photos(budget_bytes: int) -> DecodedPhotos:
        return decode_photos(read_split(data, "train"), partial(read_uncropped, contract=CONTRACT), budget_bytes)

    reference = batches_of(photos(MEMORY_BYTES), workers=0)
    assert reference[0][0].shape == (12, 32, 32, 3)
    assert reference[0][0].dtype == torch.uint8
    for name, budget_bytes, workers in (("disk", 1000, 0), ("workers", MEMORY_BYTES, 2)):
        again = batches_of(photos(budget_bytes), workers)
        pairs = zip(reference, again, strict=True)
        same = all(
            torch.equal(first, second) for left, right in pairs for first, second in zip(left, right, strict=True)
        )
        sys.stdout.write(f"{name} {'equal' if same else 'DIFFERS'}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
