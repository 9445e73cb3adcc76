"""Draws chart specifications as pictures; the only module that draws with vl-convert.

Control characters are replaced first: they make vl-convert panic in Rust, which ends the process.
"""

from __future__ import annotations

from typing import Any

import vl_convert

from vegrt.errors import VegrtError, reason_of
from vegrt.report.html.blocks import Spec

_UNSAFE = dict.fromkeys((*range(32), *range(0x7F, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "�")
_UNSAFE |= {ord("\t"): " ", ord("\n"): " ", ord("\r"): " "}


def _drawable(value: Any) -> Any:
    """Return a JSON value in which U+FFFD replaces all characters of strings and keys that cannot be drawn."""
    if isinstance(value, str):
        return value if value.isprintable() else value.translate(_UNSAFE)
    if isinstance(value, dict):
        return {_drawable(key): _drawable(inner) for key, inner in value.items()}
    return [_drawable(inner) for inner in value] if isinstance(value, list | tuple) else value


def to_svg(spec: Spec) -> str:
    """Return the chart as SVG. Raises VegrtError if it cannot be drawn."""
    try:
        return str(vl_convert.vegalite_to_svg(_drawable(spec), allowed_base_urls=[]))
    except ValueError as error:
        raise _refused(error) from error


def to_png(spec: Spec, *, scale: float) -> bytes:
    """Return the chart as PNG, enlarged by `scale`. Raises VegrtError if it cannot be drawn."""
    try:
        return bytes(vl_convert.vegalite_to_png(_drawable(spec), scale=scale, allowed_base_urls=[]))
    except ValueError as error:
        raise _refused(error) from error


def _refused(error: ValueError) -> VegrtError:
    return VegrtError(
        f"report: a chart cannot be drawn ({reason_of(error):.200}); write Markdown instead: -o report.md"
    )
