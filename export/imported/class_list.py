"""Class names of an imported model, from the files in which other tools keep them."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vegrt.dataset.classes import classes_fault
from vegrt.errors import DataError

_NUMBERED = re.compile(r"(\d{1,9})\s*:\s*(.*)")  # int() refuses thousands of digits
_LARGEST_BYTES = 16 << 20


def read_classes(file: Path) -> tuple[str, ...]:
    """Return class names in the order of the scores. Raises DataError unless there are two or more, each once.

    A text file has one name per line, or `INDEX: name` on every line. JSON, and the literals that Python prints: a list of names;
    an object from index to name, or to [identifier, name] (Keras' list of ImageNet), or from name to index (Keras'
    `class_indices`); or a Hugging Face configuration with `id2label`. Of two classes of one name, as ImageNet has them, the
    identifiers tell them apart. Indices must be 0 to K - 1.
    """
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise DataError(
                f"{file}: more than {_LARGEST_BYTES >> 20} MiB; expected class names, one per line, or JSON"
            )
        text = file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); expected class names, one per line, or JSON") from error
    names = _of_structure(_parsed(text, file), file) if text.startswith(("{", "[")) else _of_lines(text, file)
    if fault := classes_fault(names):
        raise DataError(
            f"{file}: {fault}; expected every name once, in the order of the scores{_duplicate_cure(names)}"
        )
    return names


def _duplicate_cure(names: Iterable[str]) -> str:
    """Return where the first name that occurs twice is, as the end of a message; empty if there is none."""
    places: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in places:
            return f"; scores {places[name]} and {index} have this name: give one another, such as {name:.80} ({index})"
        places[name] = index
    return ""


def _parsed(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"{file}: begins like JSON but is none; expected class names, one per line, or JSON") from error


def _of_lines(text: str, file: Path) -> tuple[str, ...]:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        return _by_index([(int(match[1]), match[2].strip()) for match in numbered if match], file)
    return tuple(lines)


def _of_structure(value: Any, file: Path) -> tuple[str, ...]:
    if isinstance(value, dict) and isinstance(value.get("id2label"), dict):
        value = value["id2label"]
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        raise DataError(
            f"{file}: {type(value).__name__}; expected a list of class names, or an object of index and name"
        )
    if value and all(_is_index(item) for item in value.values()) and not all(map(_is_index, value)):
        return _by_index([(int(index), str(name)) for name, index in value.items()], file)
    if wrong := next((key for key in value if not _is_index(key)), None):
        raise DataError(f"{file}: key {wrong!r:.80}; expected an object from index to name, or from name to index")
    return _by_index(
        [(int(index), name) for index, name in zip(value, _told_apart(value.values(), file), strict=True)], file
    )


def _is_index(value: Any) -> bool:
    return type(value) is int or (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10)


def _told_apart(values: Iterable[Any], file: Path) -> list[str]:
    """Return a name for each value, a name or [identifier, name]; a name that occurs twice with its identifier behind it."""
    pairs = []
    for value in values:
        pair = value if isinstance(value, list | tuple) else ["", value]
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise DataError(f"{file}: {value!r:.80}; expected a class name, or [identifier, name]")
        pairs.append((pair[0].strip(), pair[1].strip()))
    counts = Counter(name for _, name in pairs)
    return [f"{name} ({identifier})" if identifier and counts[name] > 1 else name for identifier, name in pairs]


def _by_index(entries: list[tuple[int, str]], file: Path) -> tuple[str, ...]:
    names = dict(entries)
    if sorted(index for index, _ in entries) != list(range(len(entries))):
        counts = Counter(index for index, _ in entries)
        wrong = sorted({*range(len(entries))} ^ {*counts}) or [index for index, count in counts.items() if count > 1]
        raise DataError(
            f"{file}: {len(entries)} classes, but index {wrong[0]} is missing, too large or there twice; "
            f"expected each of 0 to {len(entries) - 1} once, as the network's scores are counted"
        )
    return tuple(names[index] for index in range(len(names)))
