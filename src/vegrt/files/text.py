"""Text that is safe to print: names of files may hold any bytes, and some characters command a terminal."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

# What a terminal acts upon or cannot show: C0, DEL, C1, marks that turn the direction of text (Unicode's Bidi_Control), line and
# paragraph separators, and surrogates, as which Python reads bytes that are no UTF-8.
_CONTROLS = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_UNPRINTABLE = re.compile(f"[\x00-\x1f{_CONTROLS}]")
_UNPRINTABLE_IN_LINES = re.compile(f"[\x00-\x08\x0b-\x1f{_CONTROLS}]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def printable(text: str | Path) -> str:
    """Return a name or a message as one line that is safe on any terminal: control characters are escaped as in Python.

    Bytes of a path that are not UTF-8 are shown as \\xNN. For people: a program gets names as they are, see `as_utf8`.
    """
    shown = os.fspath(text)
    return shown if shown.isprintable() else _UNPRINTABLE.sub(_escaped, shown)


def printable_lines(text: str) -> str:
    """Return text of several lines, with tabs, as `printable` returns one."""
    return _UNPRINTABLE_IN_LINES.sub(_escaped, text)


def as_utf8(path: str | Path) -> str:
    """Return a path as text that UTF-8 can hold, exact but for bytes that are not UTF-8: those are \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def json_text(value: Any) -> str:
    """Return `value` as JSON on one line: readable, exact, and without any raw control character."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if text.isprintable() else _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte, as os.fsdecode returns it
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}")
