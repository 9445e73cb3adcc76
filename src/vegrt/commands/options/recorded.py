"""A call as results and manifests record it: the command's name, and every option that differs from its default."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vegrt.commands.options.derived import (
    check_arguments,
    flag_of,
    has_parser,
    is_argument,
    keywords,
    takes_a_path,
)
from vegrt.commands.options.numbers import text_of

UNRECORDED = frozenset({"mlflow"})  # it changes no result, and an address may hold a password


def recorded(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"name", "options"} of a call of a function of the API: the values of the given options by flag, as JSON values.

    arguments: by name; others are left out. It reads the function's own options, so no flag can be forgotten. Files and folders
    are recorded by name only: a bundle may be passed on, and local paths are private. Raises ArgumentError for a wrong argument.
    """
    check_arguments(function, dict(arguments))
    options: dict[str, Any] = {}
    for item in keywords(function):
        value = arguments[item.name]
        if (
            item.name in UNRECORDED
            or is_argument(item)
            or value in (None, (), [])
            or _to_json(value, item) == _to_json(item.default, item)
        ):
            continue
        options[flag_of(item, value)] = _to_json(value, item)
    return {"name": function.__name__, "options": options}


def _to_json(value: Any, item: inspect.Parameter) -> Any:
    if value is None or value is inspect.Parameter.empty:
        return None
    if has_parser(item):
        return text_of(value)
    if isinstance(value, list | tuple):
        return [_to_json(entry, item) for entry in value]
    return Path(value).name if takes_a_path(item) else value
