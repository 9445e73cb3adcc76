"""SIGTERM that means Ctrl-C, so that what a service manager, `kill`, `timeout` or a batch system ends saves and cleans up."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_BOTH = (signal.SIGINT, signal.SIGTERM)


def terminate_as_interrupt() -> None:
    """Have SIGTERM raise KeyboardInterrupt in the main thread, unless whoever started us had it ignored.

    That holds in the background too, where shells have SIGINT ignored. Forked children get the default back: their parent
    ends them by it.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


@dataclass(slots=True)
class Interrupted:
    """Whether an interrupt was asked for. Not an Event: its lock is no place for a signal within a signal."""

    noted: bool = False


@contextmanager
def noting_interrupts() -> Iterator[Interrupted]:
    """Yield a note that Ctrl-C makes instead of raising; the second Ctrl-C raises as usual.

    SIGTERM makes it too where it means Ctrl-C; a caller's own handler stays. Outside the main thread nothing is taken over.
    """
    interrupted = Interrupted()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield interrupted
        return

    def note(number: int, frame: FrameType | None) -> None:
        interrupted.noted = True
        if number == signal.SIGTERM:
            previous[signal.SIGTERM] = signal.SIG_IGN  # as after _terminate
        signal.signal(signal.SIGINT, signal.default_int_handler)

    taken = [signal.SIGINT, *([signal.SIGTERM] if signal.getsignal(signal.SIGTERM) is _terminate else [])]
    previous = {number: signal.getsignal(number) for number in taken}
    for number in taken:
        signal.signal(number, note)
    try:
        yield interrupted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def keeping_sigterm() -> Iterator[None]:
    """Put SIGTERM's handler back after the block: libraries take it for themselves, and end the process by it."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def holding_interrupts() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM wait until the block ends; in a child that it forks, until that calls `leave_interrupts`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BOTH)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_interrupts() -> None:
    """Let the parent alone answer Ctrl-C and SIGTERM, which often reach the whole group: it needs its workers to the end."""
    for number in _BOTH:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BOTH)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, once: `timeout` and others send the signal twice, and what cleans up is not to be disturbed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
