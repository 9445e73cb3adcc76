"""Lets several actors run one at a time, and another one go on at each file operation: a seed decides which.

An actor is a thread that calls a function, or a process, forked before, that a thread speaks for. So the same seed gives the same
order. An actor that waits for a real lock, as SQLite's, is left alone after a moment, and another one goes on.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.watched_io import Operation, watched

SWITCHES = (
    1.0,
    0.3,
    0.05,
)  # how often another actor gets the next turn: few turns in a row find other faults than many
STUCK_S = 2.0  # until an actor that does nothing is thought to wait for a lock
LIMIT_S = 120.0


@dataclass(slots=True)
class Actor:
    """One of those that take turns. outcome: what its function returned or raised, at the end."""

    name: str
    thread: threading.Thread | None = None
    outcome: object = None
    turn: threading.Event = field(default_factory=threading.Event)
    ready: bool = False
    ended: bool = False


class Turns:
    """Runs actors by turns. steps: the names of those that had a turn, in order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._switch = self._random.choice(SWITCHES)
        self._changed = threading.Condition()
        self._actors: list[Actor] = []
        self._local = threading.local()
        self.steps: list[str] = []

    def run(self, functions: Mapping[str, Callable[[], object]]) -> dict[str, object]:
        """Run the functions by turns and return by name what they returned or raised."""
        for name, function in functions.items():
            actor = Actor(name)
            actor.thread = threading.Thread(target=self._act, args=(actor, function), daemon=True)
            self._actors.append(actor)
            actor.thread.start()
        while not all(actor.ended for actor in self._actors):
            self._give_turn()
        return {actor.name: actor.outcome for actor in self._actors}

    def pause(self, operation: Operation | None = None) -> None:
        """Let others go on before this operation; does nothing in a thread that is no actor."""
        actor: Actor | None = getattr(self._local, "actor", None)
        if actor is not None:
            self._wait(actor)

    def _act(self, actor: Actor, function: Callable[[], object]) -> None:
        self._local.actor = actor
        self._wait(actor)
        try:
            actor.outcome = function()
        except Exception as error:
            actor.outcome = error
        with self._changed:
            actor.ended = True
            self._changed.notify_all()

    def _wait(self, actor: Actor) -> None:
        with self._changed:
            actor.ready = True
            self._changed.notify_all()
        if not actor.turn.wait(LIMIT_S):
            raise AssertionError(f"{actor.name}: never had its turn")
        actor.turn.clear()

    def _give_turn(self) -> None:
        with self._changed:
            self._changed.wait_for(self._all_rest, STUCK_S)
            if not self._changed.wait_for(self._can_go_on, LIMIT_S):
                raise AssertionError("every actor waits for another")
            ready = [actor for actor in self._actors if actor.ready and not actor.ended]
            if not ready:
                return
            last = [actor for actor in ready if self.steps and actor.name == self.steps[-1]]
            actor = last[0] if last and self._random.random() >= self._switch else self._random.choice(ready)
            actor.ready = False
            self.steps.append(actor.name)
        actor.turn.set()

    def _can_go_on(self) -> bool:
        return any(actor.ready for actor in self._actors) or all(actor.ended for actor in self._actors)

    def _all_rest(self) -> bool:
        return all(actor.ready or actor.ended for actor in self._actors)


def interleaved(
    seed: int,
    functions: Mapping[str, Callable[[], object]],
    roots: Collection[Path],
    *,
    excluded: Collection[Path] = (),
) -> tuple[dict[str, object], list[str]]:
    """Run functions by turns at the file operations below some folders; return their outcomes and the order of turns."""
    turns = Turns(seed)

    def before(operation: Operation) -> None:
        turns.pause(operation)

    with watched(before, roots, excluded, looks=True, sleeps=lambda _: turns.pause()):
        outcomes = turns.run(functions)
    return outcomes, turns.steps


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended. code: its exit code."""

    code: int
    errors: str


def processes(
    seed: int, functions: Mapping[str, Callable[[], int]], roots: Collection[Path], logs: Path
) -> tuple[dict[str, Ended], list[str]]:
    """Run functions in forked processes, by turns at their file operations; return how they ended and the order of turns."""
    children = {name: _fork(function, roots, logs / name) for name, function in functions.items()}
    turns = Turns(seed)
    outcomes = turns.run({name: _speaker(turns, *child) for name, child in children.items()})
    ends = {}
    for name, outcome in outcomes.items():
        if not isinstance(outcome, int):
            raise AssertionError(f"{name}: {outcome!r}")
        ends[name] = Ended(outcome, (logs / f"{name}.err").read_text())
    return ends, turns.steps


def _fork(function: Callable[[], int], roots: Collection[Path], log: Path) -> tuple[int, int, int]:
    """Return process id, the descriptor to read its pauses from, and that to write its turns to."""
    pauses, turns = os.pipe(), os.pipe()
    pid = os.fork()
    if pid:
        os.close(pauses[1])
        os.close(turns[0])
        return pid, pauses[0], turns[1]
    code = 70
    try:
        for descriptor, name in enumerate(("/dev/null", f"{log}.out", f"{log}.err")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666), descriptor)
        write, read, lock = os.write, os.read, threading.Lock()

        def before(operation: Operation) -> None:
            with lock:
                write(pauses[1], b".")
                if not read(turns[0], 1):
                    os.kill(os.getpid(), signal.SIGKILL)  # the parent has ended

        with watched(before, roots):
            code = function()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _speaker(turns: Turns, pid: int, pauses: int, goes: int) -> Callable[[], int]:
    def speak() -> int:
        while os.read(pauses, 1):
            turns.pause()
            os.write(goes, b".")
        os.close(pauses)
        os.close(goes)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return speak
