"""The note beside an output, so that only the same run resumes it, and a lock, so that one process at a time writes it.

The note, OUT.run.json, holds the settings that must be equal (bundle, variant, options) and which files hold this run's answers:

    begun     none yet: existing files belong to another run and are to be replaced
    growing   those in OUT.part
    complete  those in OUT.part if it is there, else those in OUT

It is replaced by renames before the files change, so that a note is true whenever a process is killed. If no note is to remain,
it becomes the lock by one rename and is removed with the lock: until the end it can be read.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vegrt.errors import VegrtError
from vegrt.files.descriptors import OPEN_FILES_MOVE, open_lock_file
from vegrt.files.locking import take_lock

log = logging.getLogger(__name__)

State = Literal["begun", "growing", "complete"]
_STATES = ("begun", "growing", "complete")


@dataclass(frozen=True, slots=True)
class Noted:
    """A note's content. identity: JSON values."""

    state: State
    identity: Mapping[str, Any]

    def differences(self, identity: Mapping[str, Any]) -> str:
        """Return in words which settings differ; empty if none does."""
        keys = [key for key in {**self.identity, **identity} if self.identity.get(key) != identity.get(key)]
        return "; ".join(f"{key}: {self.identity.get(key)}, now {identity.get(key)}" for key in keys)


class RunNote:
    """The note of one output."""

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(f"{out.name}.run.json")
        self._last = _lock_of(out)
        self._new = out.with_name(f"{out.name}.run.json.new")  # a killed process may leave it; the next one takes it

    def read(self) -> Noted | None:
        """Return the note; None if there is no valid one."""
        try:
            file = self.path if self.path.exists() else self._last
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(values, dict):
            return None
        state = values.pop("state", "complete")  # notes of version 0.1.0 have none and go with the part, if it is there
        return Noted(state, values) if state in _STATES else None

    def write(self, state: State, identity: Mapping[str, Any]) -> None:
        """Replace the note. Raises VegrtError when that fails; the old one is there then."""
        try:
            with self._new.open("w", encoding="utf-8") as file:
                json.dump({**identity, "state": state}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            self._new.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                self._new.unlink(missing_ok=True)
            raise VegrtError(
                f"{self.path}: writing failed ({error.strerror or error}); make room, then repeat it with --resume"
            ) from error

    def remove(self) -> None:
        """Remove it, if it is there."""
        self._new.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _lock_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.lock")


@dataclass(slots=True)
class OutputLock:
    """OUT.lock, locked: the system lets it go with the process, however that ends."""

    out: Path
    _descriptor: int | None = field(default=None, init=False)

    def take(self) -> None:
        """Take it. Raises VegrtError when another process has it."""
        while self._descriptor is None:
            try:
                descriptor = open_lock_file(_lock_of(self.out))
            except OSError as error:
                raise VegrtError(f"{self.out}: cannot be written ({error.strerror}); choose another place") from error
            try:
                is_free = take_lock(descriptor)
            except OSError as error:
                log.debug("%s: no locks here (%s)", self.out, error)
                is_free = True
            if not is_free:
                os.close(descriptor)
                raise VegrtError(f"{self.out}: another process writes it; wait for that, or choose another --out")
            if self._is_current(descriptor):
                self._descriptor = descriptor
            else:  # who had it removed it before we locked it
                os.close(descriptor)

    def absorb(self, note: RunNote) -> None:
        """Let the note be the lock: the file of its own is gone then. Windows renames no open file: the note is removed."""
        if not OPEN_FILES_MOVE:
            note.remove()
            return
        try:
            descriptor = os.open(note.path, os.O_RDWR)
        except FileNotFoundError:  # somebody removed it
            return
        with suppress(OSError):  # a file system without locks
            take_lock(descriptor)  # nobody else locks a note
        note.path.replace(_lock_of(self.out))
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let it go, if we have it, and remove the file."""
        if self._descriptor is not None:
            with suppress(OSError):  # it remains: the next process locks and removes it
                if OPEN_FILES_MOVE:  # removed while it is locked
                    _lock_of(self.out).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None
            if not OPEN_FILES_MOVE:
                with suppress(OSError):  # the next process has already opened it
                    _lock_of(self.out).unlink()

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), _lock_of(self.out).stat())
        except FileNotFoundError:
            return False
