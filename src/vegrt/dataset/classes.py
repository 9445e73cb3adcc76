"""The rule for class names, applied wherever they are read, so that every file and every terminal can hold them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from vegrt.errors import DataError

MAX_LENGTH = 255  # characters, the limit for the name of a folder
MAX_LISTED = 8  # names in a message
_REFUSED = {"Cc": "a control character", "Cs": "bytes that are not UTF-8", "Zl": "a line break", "Zp": "a line break"}
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they reorder adjacent text


def class_fault(name: str) -> str:
    """Return why `name` is not a valid class name, as the end of `a class name ...`; empty if it is valid."""
    if not name.strip():
        return "without a visible character"
    if len(name) > MAX_LENGTH:
        return f"of {len(name)} characters, {name[:20]!a}…; expected at most {MAX_LENGTH}"
    for letter in name:
        if reason := _REFUSED.get(unicodedata.category(letter)):
            return f"with {reason}: {name!a}"
        if letter in _DIRECTIONS:
            return f"with a character that changes the text direction: {name!a}"
    return ""


def classes_fault(names: Sequence[str]) -> str:
    """Return what is wrong with a list of class names, as text for a message; empty if they are valid.

    Names that differ only in the encoding of their accents (Unicode forms NFC and NFD) look the same and are refused.
    """
    for name in names:
        if fault := class_fault(name):
            return f"a class name {fault}"
    by_form: dict[str, str] = {}
    for name in names:
        form = unicodedata.normalize("NFC", name)
        if form in by_form:
            return f"duplicate class {name}" if by_form[form] == name else f"two classes {name} that look the same"
        by_form[form] = name
    return "" if len(names) >= 2 else f"{len(names)} class name(s); expected at least 2"


def listed_classes(names: Sequence[str], limit: int = MAX_LISTED) -> str:
    """Return class names as a list in one line: the first `limit`, and how many more.

    They are separated by semicolons if one of them has a comma, as those of ImageNet have.
    """
    shown = names[:limit]
    text = ("; " if any("," in name for name in shown) else ", ").join(shown)
    return f"{text} and {len(names) - limit:,} more" if len(names) > limit else text


def check_folder_names(names: Sequence[str], subject: str) -> None:
    """Raise DataError if a folder or a CSV file uses an invalid class name."""
    for name in names:
        if fault := class_fault(name):
            raise DataError(f"{subject}: a class name {fault}; rename it")
