"""Decode threads ahead of the runner: photos become uint8 batches while the previous batch is being computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import DataError
from vegrt.infer.ort import available_cores
from vegrt.preprocess import Contract, load_image


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive photos of a list.

    indices: positions of the readable ones in the list. images: (N, H, W, 3) uint8 RGB, N = len(indices).
    errors: position and reason of each unreadable one among them.
    """

    indices: list[int]
    images: NDArray[np.uint8]
    errors: list[tuple[int, str]]


def batches(paths: Sequence[Path], contract: Contract, batch_size: int) -> Iterator[Batch]:
    """Yield all photos in order, `batch_size` at a time. At most four batches are decoded ahead, so memory is bounded."""
    workers = max(2, available_cores())
    pending: deque[Future[NDArray[np.uint8] | str]] = deque()
    todo = iter(paths)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for start in range(0, len(paths), batch_size):
                ahead = batch_size * 4 - len(pending)
                pending.extend(pool.submit(_read, path, contract) for path in islice(todo, ahead))
                count = min(batch_size, len(paths) - start)
                yield _collect(start, [pending.popleft().result() for _ in range(count)], contract)
        finally:
            for future in pending:
                future.cancel()


def _read(path: Path, contract: Contract) -> NDArray[np.uint8] | str:
    try:
        return load_image(path, contract)
    except DataError as error:
        return str(error).encode("utf-8", "backslashreplace").decode()  # it names the file, in whatever bytes


def _collect(start: int, results: list[NDArray[np.uint8] | str], contract: Contract) -> Batch:
    readable = [(start + offset, image) for offset, image in enumerate(results) if not isinstance(image, str)]
    errors = [(start + offset, reason) for offset, reason in enumerate(results) if isinstance(reason, str)]
    images = np.empty((len(readable), contract.size, contract.size, 3), np.uint8)
    for row, (_, image) in enumerate(readable):
        images[row] = image
    return Batch([index for index, _ in readable], images, errors)
