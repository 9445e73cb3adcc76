"""The errors that vegrt raises deliberately.

VegrtError              one line: subject, actual value, expected value, cure
├── DataError           look at the photos or the data folder
│   └── TooManyPixelsError  shrink the photo, or allow more
├── BundleError         look at the bundle: missing, damaged, too new, or lacking an artifact
├── ModelError          look at the network: weights that do not fit, an export that lost parity
│   └── DivergedError   train with a lower learning rate
├── EngineError         look at TensorRT: a build that failed or an engine of another device
│   └── RefusedEngineError  build the engine again
├── ArgumentError       change an argument of the function or command
├── FormatError         look at a file's content; the reader of the file adds its name and the cure
└── MissingExtraError   install a package; the message has the pip command
"""

from __future__ import annotations

import errno
import importlib
import os
from types import ModuleType


class VegrtError(Exception):
    """Base of all expected failures. The command line prints it as one line and exits with 1."""


class DataError(VegrtError):
    """A folder or image that cannot be used."""


class TooManyPixelsError(DataError):
    """An image whose header claims more pixels than are decoded."""


class BundleError(VegrtError):
    """A bundle that cannot be opened, trusted or written."""


class ModelError(VegrtError):
    """A network, checkpoint or graph that cannot be used."""


class DivergedError(ModelError):
    """A training whose loss or gradient is no longer finite."""


class EngineError(VegrtError):
    """A TensorRT build or engine that failed."""


class RefusedEngineError(EngineError):
    """A plan that TensorRT does not open, although its fingerprint fits."""


class ArgumentError(VegrtError):
    """An argument with a value that it cannot have, or that does not fit the others. The command line exits with 2."""


class FormatError(VegrtError):
    """Content that violates its format.

    reason: what is wrong, as text. place: position of the wrong value, such as `candidates[2].key`; empty for the whole file.
    """

    def __init__(self, reason: str, place: str = "") -> None:
        super().__init__(f"{place} {reason}" if place else reason)
        self.reason, self.place = reason, place


class MissingExtraError(VegrtError):
    """An optional package that is not installed."""


def reason_of(error: BaseException, line: int = 0) -> str:
    """Return one line of another library's exception, by default the first, of at most 300 characters."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return f"{lines[line]:.300}" if lines else type(error).__name__


_CURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, then repeat the command"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "allow it for this user, then repeat the command"),
    errno.EIO: "check the disk, then repeat the command",
    errno.EMFILE: "raise the limit of open files (ulimit -n), then repeat the command",
}


def system_error_text(error: OSError) -> str:
    """Return one line for an error of the system: the file, if the error names one, what happened, and what to do."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    subject = " and ".join(names) or "a file or connection"
    cure = _CURES.get(error.errno or 0, "remove the cause, then repeat the command")
    return f"{subject}: the system refused to read or change it ({error.strerror or type(error).__name__}); {cure}"


def require(module: str, extra: str) -> ModuleType:
    """Import and return `module`. Raises a MissingExtraError that names the extra with this package."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module}: cannot be imported ({error}); install it with: pip install 'vegrt[{extra}]'"
        ) from error
