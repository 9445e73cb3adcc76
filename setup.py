"""Refuses to build from a checkout whose links to the stage folders are text files; everything else is in pyproject.toml."""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup

PACKAGE = Path(__file__).parent / "src/vegrt"


def broken_links() -> list[str]:
    """Return the names of stages whose link is a text file, as git writes it where `core.symlinks` is false (Windows)."""
    stages = ("calibration", "evaluate", "export", "infer", "report", "train")
    return [name for name in stages if not (PACKAGE / name / "__init__.py").is_file()]


if broken := broken_links():
    sys.exit(
        f"src/vegrt/{broken[0]}: not a link to a folder (of {', '.join(broken)}); the wheel would lack its modules; "
        "clone again with: git clone -c core.symlinks=true URL (on Windows in developer mode), or install a wheel"
    )
setup()
