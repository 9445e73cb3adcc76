"""Read photos of any kind in threads, a bounded number ahead of the consumer, and return them in order.

For the Python API, whose iterable is advanced in the caller's thread only; `pipeline` says why `vegrt infer` needs another way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from vegrt.errors import DataError
from vegrt.machine import available_cores

Source = TypeVar("Source")
Result = TypeVar("Result")

AHEAD = 2  # batches that are read while the consumer works on one


def read_ahead(
    items: Iterable[Source], read: Callable[[Source], Result], size: int
) -> Iterator[list[Result | DataError]]:
    """Yield `read(item)` of all items, in order, `size` at a time; where it raises DataError, that error in its place.

    `items` may be endless: at most AHEAD + 1 batches of it have been taken and not yet handed over.
    """

    def attempt(item: Source) -> Result | DataError:
        try:
            return read(item)
        except DataError as error:
            return error

    remaining, pending = iter(items), deque[Future[Result | DataError]]()
    with ThreadPoolExecutor(max(2, available_cores()), thread_name_prefix="read") as pool:
        try:
            while True:
                room = size * (AHEAD + 1) - len(pending)
                pending.extend(pool.submit(attempt, item) for item in islice(remaining, room))
                if not pending:
                    return
                yield [pending.popleft().result() for _ in range(min(size, len(pending)))]
        finally:
            for future in pending:
                future.cancel()
