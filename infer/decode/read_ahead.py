"""Read photos of any kind in threads, a bounded number ahead of the consumer, and return them in order.

For the Python API, whose iterable is advanced in the caller's thread only; `pipeline` says why `vegrt infer` needs another way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from vegrt.errors import DataError
from vegrt.machine import available_cores

Source = TypeVar("Source")
Result = TypeVar("Result")

AHEAD = 2  # batches that are read while the consumer works on one
_LONGEST_RUN = 8  # photos that a thread takes at once


def read_ahead(
    items: Iterable[Source], read: Callable[[Source], Result], size: int
) -> Iterator[list[Result | DataError]]:
    """Yield `read(item)` of all items, in order, `size` at a time; where it raises DataError, that error in its place.

    `items` may be endless: at most AHEAD + 1 batches of it have been taken and not yet handed over.
    """

    def attempt(run: Sequence[Source]) -> list[Result | DataError]:
        return [_result_or_error(read, item) for item in run]

    threads = max(2, available_cores())
    length = 1  # few photos are spread over all threads
    remaining, pending, results = iter(items), deque[Future[list[Result | DataError]]](), deque[Result | DataError]()
    taken = handed_over = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
        try:
            while True:
                room = handed_over + size * (AHEAD + 1) - taken
                while room > 0 and (run := list(islice(remaining, min(length, room)))):
                    pending.append(pool.submit(attempt, run))
                    taken, room = taken + len(run), room - len(run)
                while pending and len(results) < size:
                    results.extend(pending.popleft().result())
                if not results:
                    return
                batch = [results.popleft() for _ in range(min(size, len(results)))]
                handed_over += len(batch)
                yield batch
                length = max(1, min(_LONGEST_RUN, size // threads))
        finally:
            for future in pending:
                future.cancel()


def _result_or_error(read: Callable[[Source], Result], item: Source) -> Result | DataError:
    try:
        return read(item)
    except DataError as error:
        return error
