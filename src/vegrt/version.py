"""The version of vegrt, in the one place where it is written by hand beside pyproject.toml."""

from __future__ import annotations

__version__ = "0.1.0"
