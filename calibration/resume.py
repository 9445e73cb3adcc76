"""What an interrupted calibration had already done, in a folder beside what it calibrates."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.files import replacing, write_json

log = logging.getLogger(__name__)


class Progress:
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

    def step(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON object of step `name`: as saved, or computed and then saved."""
        file = self.folder / f"step-{name}.json" if self.folder else None
        found = _read_json(file) if file else None
        if isinstance(found, dict):
            return found
        value = compute()
        if file:
            write_json(file, value)
        return value


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
