"""TOML files that users write: recipes and descriptions of ONNX files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from vegrt.errors import VegrtError, reason_of


def read_toml(file: Path, purpose: str) -> dict[str, Any]:
    """Return the values of a TOML file. purpose: what the file is for, for messages. Raises VegrtError if it cannot be read."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # imported here, because inference does not need it
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise VegrtError(f"{file}: {purpose} cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError, numbers of thousands of digits
        raise VegrtError(f"{file}: not a TOML {purpose} ({reason_of(error):.120})") from error
