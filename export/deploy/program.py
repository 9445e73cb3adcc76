"""The parts of vegrt that a program for a device imports: they are copied beside it, unchanged."""

from __future__ import annotations

import ast
from pathlib import Path

import vegrt.version

PACKAGE = Path(vegrt.version.__file__).parent


def program_files(program: str) -> dict[str, Path]:
    """Return the files of vegrt that a program imports at its start, directly or through other files, by name below the package.

    program: name of the program's own file below the package, which is not among them.
    """
    names: set[str] = set()
    unread = [PACKAGE / program]
    while unread:
        for module in _imports(unread.pop()):
            parts = module.split(".")[1:]
            file = PACKAGE.joinpath(*parts).with_suffix(".py") if parts else PACKAGE / "__init__.py"
            name = file.relative_to(PACKAGE).as_posix()
            if file.is_file():
                packages = {"/".join([*parts[:depth], "__init__.py"]) for depth in range(len(parts))}
                added = {name, *packages} - names
                names |= added
                unread += [PACKAGE / one for one in added]
    return {name: PACKAGE / name for name in sorted(names)}


def _imports(file: Path) -> list[str]:
    """Return the modules of vegrt that a file imports at its top level; an imported name counts too, as it may be a module."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    imports = [(str(line.module), line.names) for line in body if isinstance(line, ast.ImportFrom)]
    of_vegrt = [(module, names) for module, names in imports if module.split(".")[0] == "vegrt"]
    return [name for module, names in of_vegrt for name in (module, *(f"{module}.{alias.name}" for alias in names))]
