"""The files beside an imported model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.imported.classifiers import CLASSES, TOML


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES) + "\n\n")
    (tmp_path / "contract.toml").write_text(TOML)
    return tmp_path
