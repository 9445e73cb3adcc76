"""The one seam to vl-convert: a specification in, a picture out, with only such text as XML and JSON can hold.

A control character in a text makes vl-convert panic in Rust, which ends the process.
"""

from __future__ import annotations

from typing import Any

import vl_convert

from vegrt.errors import VegrtError
from vegrt.report.html.blocks import Spec

_UNSAFE = dict.fromkeys((*range(32), *range(0x7F, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "�")
_UNSAFE |= {ord("\t"): " ", ord("\n"): " ", ord("\r"): " "}


def drawable(value: Any) -> Any:
    """Return a JSON value whose texts, keys too, are free of what cannot be drawn: U+FFFD stands in its place."""
    if isinstance(value, str):
        return value if value.isprintable() else value.translate(_UNSAFE)
    if isinstance(value, dict):
        return {drawable(key): drawable(inner) for key, inner in value.items()}
    return [drawable(inner) for inner in value] if isinstance(value, list | tuple) else value


def to_svg(spec: Spec) -> str:
    """Return the drawn specification. Raises VegrtError when it cannot be drawn."""
    try:
        return str(vl_convert.vegalite_to_svg(drawable(spec), allowed_base_urls=[]))
    except ValueError as error:
        raise _refused(error) from error


def to_png(spec: Spec, *, scale: float) -> bytes:
    """Return the drawn specification, `scale` times as large. Raises VegrtError when it cannot be drawn."""
    try:
        return bytes(vl_convert.vegalite_to_png(drawable(spec), scale=scale, allowed_base_urls=[]))
    except ValueError as error:
        raise _refused(error) from error


def _refused(error: ValueError) -> VegrtError:
    return VegrtError(
        f"report: a chart cannot be drawn ({str(error).splitlines()[0]:.200}); write Markdown: -o report.md"
    )
