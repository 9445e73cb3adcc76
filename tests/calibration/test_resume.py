"""The saved state of an interrupted calibration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vegrt.calibration.resume import CalibrationProgress
from vegrt.errors import VegrtError


def test_a_full_disk_is_one_line_and_keeps_what_was_saved(
    tmp_path: Path, file_size_limit: Callable[[int], None]
) -> None:
    progress = CalibrationProgress(tmp_path / "state", "key")
    progress.save("minmax", 8, {"x": np.ones(4)})
    file_size_limit(4000)
    with pytest.raises(
        VegrtError, match=r"minmax\.safetensors: cannot be written \(.*File too large.*\); free some space"
    ):
        progress.save("minmax", 16, {"x": np.ones(4000)})
    assert progress.load("minmax")[0] == 8
    assert sorted(file.name for file in (tmp_path / "state").iterdir()) == ["key.json", "minmax.safetensors"]
