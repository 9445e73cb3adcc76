"""TOML files that users write: recipes and descriptions of ONNX files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from vegrt.errors import VegrtError


def read_toml(file: Path, what: str) -> dict[str, Any]:
    """Return a TOML file's values. what: the file's purpose, for messages. Raises VegrtError when it cannot be read."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # here, because an edge box has no need of it
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise VegrtError(f"{file}: {what} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError, numbers of thousands of digits
        raise VegrtError(f"{file}: not a TOML {what} ({str(error).splitlines()[0]:.120})") from error
