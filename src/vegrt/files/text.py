"""Text that is safe to print: file names may contain any bytes, and terminals interpret some characters as commands."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

# Characters that terminals interpret or cannot show: C0, DEL, C1, marks of the text direction (Unicode's Bidi_Control), line and
# paragraph separators, and surrogates, which Python uses for bytes that are not UTF-8.
_CONTROLS = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_UNPRINTABLE = re.compile(f"[\x00-\x1f{_CONTROLS}]")
_UNPRINTABLE_IN_LINES = re.compile(f"[\x00-\x08\x0b-\x1f{_CONTROLS}]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def printable(text: str | Path) -> str:
    """Return a name or a message as one line that is safe on any terminal: control characters are escaped as in Python.

    Bytes of a path that are not UTF-8 become \\xNN. For people; programs get unescaped names, see `as_utf8`.
    """
    shown = os.fspath(text)
    return shown if shown.isprintable() else _UNPRINTABLE.sub(_escaped, shown)


def printable_lines(text: str) -> str:
    """Return text with the escapes of `printable`, but keep line feeds and tabs."""
    return _UNPRINTABLE_IN_LINES.sub(_escaped, text)


def as_utf8(path: str | Path) -> str:
    """Return a path as text that UTF-8 can hold: unchanged, except that bytes which are not UTF-8 become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def json_text(value: Any) -> str:
    """Return `value` as JSON on one line, readable and exact, with control characters escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if text.isprintable() else _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte, as os.fsdecode returns it
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT.get(match[0]) or (f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}")
