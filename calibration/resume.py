"""What an interrupted calibration had already done, in a folder beside what it calibrates."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import FormatError
from vegrt.files.atomic import replacing, write_json
from vegrt.schema import build, read_json

T = TypeVar("T")

log = logging.getLogger(__name__)


class CalibrationProgress:
    """Saved state of one calibration. folder: None saves nothing. key: state saved under another key is thrown away."""

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder = folder
        if folder is None:
            return
        if _read_json(folder / "key.json") != key:
            shutil.rmtree(folder, ignore_errors=True)
            write_json(folder / "key.json", key)
        elif any(folder.glob("*.safetensors")) or any(folder.glob("step-*.json")):
            log.warning("%s: going on with the interrupted calibration", folder.parent)

    def load(self, name: str) -> tuple[int, dict[str, NDArray[Any]]]:
        """Return how many images the arrays `name` have seen, and the arrays; 0 and none when nothing is saved."""
        from safetensors import SafetensorError, safe_open

        file = self.folder / f"{name}.safetensors" if self.folder else None
        if file is None or not file.is_file():
            return 0, {}
        try:
            with safe_open(file, "numpy") as found:
                return int(found.metadata()["seen"]), {key: found.get_tensor(key) for key in found.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            log.warning("%s: unreadable (%s); observed again", file, error)
            return 0, {}

    def save(self, name: str, seen: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep `arrays`, which have seen that many images, under `name`; atomically."""
        from safetensors.numpy import save_file

        if self.folder is not None:
            with replacing(self.folder / f"{name}.safetensors") as temporary:
                save_file(
                    {key: np.ascontiguousarray(value) for key, value in arrays.items()}, temporary, {"seen": str(seen)}
                )

    def step(self, name: str, kind: type[T], compute: Callable[[], T]) -> T:
        """Return what step `name` gives, a dataclass `kind` of numbers: as saved, or computed and then saved."""
        file = self.folder / f"step-{name}.json" if self.folder else None
        try:
            return build(kind, _read_json(file) if file else None)
        except FormatError:  # not there, or not whole
            value = compute()
        if file:
            write_json(file, asdict(cast(Any, value)))
        return value


def _read_json(file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, FormatError):
        return None
