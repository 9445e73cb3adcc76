"""SIGTERM treated as Ctrl-C, so that a command saves and cleans up when a service manager, `kill` or `timeout` ends it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_BOTH = (signal.SIGINT, signal.SIGTERM)
_CAN_HOLD = hasattr(signal, "pthread_sigmask")  # Windows cannot: there, an interrupt is not delayed


def terminate_as_interrupt() -> None:
    """Make SIGTERM raise KeyboardInterrupt in the main thread, unless the parent process made it ignored.

    This also works in background jobs, for which shells ignore SIGINT. Forked children get the default handler back, because
    their parent ends them with SIGTERM.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
        if hasattr(os, "register_at_fork"):  # Windows has no fork
            os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


@dataclass(slots=True)
class Interrupted:
    """Whether an interrupt was requested. Not a threading.Event: its lock can deadlock when one signal interrupts another."""

    noted: bool = False


@contextmanager
def noting_interrupts() -> Iterator[Interrupted]:
    """Yield a flag that the first Ctrl-C sets instead of raising KeyboardInterrupt; the second Ctrl-C raises as usual.

    SIGTERM sets it too if it is treated as Ctrl-C; a caller's own handler stays. Outside the main thread nothing changes.
    However the block ends, an interrupt that was noted raises KeyboardInterrupt then: no caller goes on as if it had not been.
    """
    interrupted = Interrupted()
    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
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
    except Exception as error:
        if interrupted.noted:
            raise KeyboardInterrupt(str(error)) from error
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if interrupted.noted:
        raise KeyboardInterrupt


@contextmanager
def keeping_sigterm() -> Iterator[None]:
    """Restore SIGTERM's handler after the block: some libraries replace it with one that ends the process."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def holding_interrupts() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the block ends; in a child forked inside it, until the child calls `leave_interrupts`."""
    if not _CAN_HOLD:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BOTH)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_interrupts() -> None:
    """Ignore Ctrl-C and SIGTERM in a worker: they often reach the whole process group, and the parent still needs its workers."""
    for number in _BOTH:
        signal.signal(number, signal.SIG_IGN)
    if _CAN_HOLD:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _BOTH)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, once: `timeout` and others send the signal twice, and the second must not disturb the cleanup."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
