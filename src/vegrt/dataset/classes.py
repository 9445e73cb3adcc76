"""What a class may be called: one rule wherever names of classes enter, so that every file and every terminal can hold them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from vegrt.errors import DataError

MAX_LENGTH = 255  # characters, as of a folder's name
_REFUSED = {"Cc": "a control character", "Cs": "bytes that are not UTF-8", "Zl": "a line break", "Zp": "a line break"}
_DIRECTIONS = frozenset(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # they reorder what stands beside them


def class_fault(name: str) -> str:
    """Return why no class may be called `name`, as the end of `a class name ...`; empty where it may."""
    if not name.strip():
        return "without a letter"
    if len(name) > MAX_LENGTH:
        return f"of {len(name)} characters, {name[:20]!a}…; expected at most {MAX_LENGTH}"
    for letter in name:
        if reason := _REFUSED.get(unicodedata.category(letter)):
            return f"with {reason}: {name!a}"
        if letter in _DIRECTIONS:
            return f"with a character that turns the direction of writing: {name!a}"
    return ""


def classes_fault(names: Sequence[str]) -> str:
    """Return what is wrong with the names of all classes, in words; empty where nothing is.

    Two that only the coding of their accents tells apart (Unicode's forms NFC and NFD) look the same to everybody.
    """
    for name in names:
        if fault := class_fault(name):
            return f"a class name {fault}"
    seen: dict[str, str] = {}
    for name in names:
        form = unicodedata.normalize("NFC", name)
        if form in seen:
            return f"class {name} twice" if seen[form] == name else f"two classes {name} that look the same"
        seen[form] = name
    return "" if len(names) >= 2 else f"{len(names)} class name(s), at least 2 expected"


def check_folder_names(names: Sequence[str], subject: str) -> None:
    """Raise DataError, with the cure, where a folder or a CSV file names a class as no class may be called."""
    for name in names:
        if fault := class_fault(name):
            raise DataError(f"{subject}: a class name {fault}; rename it")
