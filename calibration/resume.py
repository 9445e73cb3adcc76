"""Saved state of an interrupted calibration, in a hidden folder of the bundle that it calibrates."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import FormatError, VegrtError
from vegrt.files.atomic import replacing, write_json
from vegrt.files.hashing import sha256_of_json
from vegrt.schema import build, read_json

PROGRESS = ".calibrating"

T = TypeVar("T")

log = logging.getLogger(__name__)


class CalibrationProgress:
    """Saved state of one calibration. folder: None saves nothing. key: state that was saved with another key is deleted."""

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder = folder
        if folder is None:
            return
        if _read_json(folder / "key.json") != key:
            shutil.rmtree(folder, ignore_errors=True)
            write_json(folder / "key.json", key)
        elif any(folder.glob("*.safetensors")) or any(folder.glob("step-*.json")):
            log.warning("%s: resuming the interrupted calibration", folder.parent)

    def load(self, name: str) -> tuple[int, dict[str, NDArray[Any]]]:
        """Return how many images went into the arrays saved under `name`, and the arrays; 0 and none when nothing is saved."""
        from safetensors import SafetensorError, safe_open

        file = self.folder / f"{name}.safetensors" if self.folder else None
        if file is None or not file.is_file():
            return 0, {}
        try:
            with safe_open(file, "numpy") as tensors:
                return int(tensors.metadata()["seen"]), {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            log.warning("%s: cannot be read (%s); observing again", file, error)
            return 0, {}

    def save(self, name: str, images: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Save `arrays`, into which so many images went, under `name`; atomically. Raises VegrtError if that fails."""
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        if self.folder is None:
            return
        file = self.folder / f"{name}.safetensors"
        with replacing(file) as temporary:
            contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
            try:
                save_file(contiguous, temporary, {"seen": str(images)})
            except SafetensorError as error:  # such as a full disk
                raise VegrtError(
                    f"{file}: cannot be written ({error}); free some space, then repeat the command"
                ) from error

    def load_figures(self, name: str, kind: type[T]) -> T | None:
        """Return the dataclass of numbers that is saved under `name`; None when it is missing or damaged."""
        file = self._figures_file(name)
        try:
            return build(kind, _read_json(file)) if file else None
        except FormatError:
            return None

    def save_figures(self, name: str, figures: Mapping[str, Any]) -> None:
        """Save the fields of a dataclass of numbers under `name`."""
        if file := self._figures_file(name):
            write_json(file, dict(figures))

    def _figures_file(self, name: str) -> Path | None:
        return self.folder / f"step-{name}.json" if self.folder else None


def open_progress(bundle: Path, key: Mapping[str, Any], folder: str = PROGRESS) -> CalibrationProgress:
    """Return the saved state of interrupted work with this key, in a hidden folder of the bundle."""
    return CalibrationProgress(bundle / folder, sha256_of_json(dict(key)))


def finish_progress(bundle: Path, folder: str = PROGRESS) -> None:
    """Remove the saved state of work that is done."""
    shutil.rmtree(bundle / folder, ignore_errors=True)


def _read_json(file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, FormatError):
        return None
