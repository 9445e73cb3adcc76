"""The version of vegrt; keep it equal to the one in pyproject.toml."""

from __future__ import annotations

__version__ = "0.2.0"
