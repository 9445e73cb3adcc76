"""Moves batches to the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from vegrt.train.data.loader import Batch


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield the batches on the device; on a CPU, the batches themselves.

    A GPU copies a batch on a second stream while it computes the steps of earlier ones, because `Learner.step` does not wait for
    it. Asynchronous copies need pinned memory, which `BatchLoader` uses. Pixels are copied as uint8; the network normalises them.
    """
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for images, labels in batches:
        with torch.cuda.stream(copying):
            copied = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(copying)
        for tensor in copied:
            tensor.record_stream(
                computing
            )  # its memory belongs to the copying stream, which must not reuse it too early
        yield copied
