"""Renders pages from template files, with autoescape, so that a hostile class or file name stays text.

Only the modules of pages import it, because it needs jinja2, which the `report` extra installs.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vegrt.report.html.blocks import Badge

_FOLDERS = (Path(__file__).parent, Path(__file__).parents[1] / "run")


def fill_template(name: str, **values: Any) -> str:
    """Return a rendered template. Strings are escaped unless they are Markup."""
    return _environment().get_template(name).render(**values)


def read_asset(name: str) -> Markup:
    """Return the style sheet or script with this name, unescaped: it is a file of vegrt, next to the templates."""
    (path,) = (folder / name for folder in _FOLDERS if (folder / name).is_file())
    return Markup(path.read_text(encoding="utf-8"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["class_name"] = lambda value: type(value).__name__
    environment.tests["badge"] = lambda value: isinstance(value, Badge)
    return environment
