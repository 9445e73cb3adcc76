"""The running command as results and manifests record it: its name, and every option that differs from its default."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import typer

# Options that change how the answer is shown, not the answer.
UNRECORDED = frozenset({"--json", "--help"})


def recorded(ctx: typer.Context) -> dict[str, Any]:
    """Return {"name", "options"} of the running command: the values of the given options by flag, as JSON values.

    It reads the command's own table of options, so no flag can be forgotten. Files and folders are recorded by name only: a
    bundle may be passed on, and local paths are private.
    """
    options: dict[str, Any] = {}
    for option in ctx.command.params:
        value = ctx.params.get(option.name or "")
        if option.param_type_name != "option" or value in (None, (), []) or value == option.get_default(ctx):
            continue
        if (flag := _flag(option, value)) not in UNRECORDED:
            options[flag] = _to_json(value, is_path=_takes_a_path(option))
    return {"name": ctx.command.name, "options": options}


def _takes_a_path(option: Any) -> bool:
    """Return whether the declared type of an option is a file or folder."""
    return getattr(option.type, "name", "") in ("path", "file", "directory", "filename")


def _flag(option: Any, value: Any) -> str:
    """Return the long name of an option; for a switch that was turned off, its --no- name."""
    names = option.secondary_opts if value is False and option.secondary_opts else option.opts
    return str(max(names, key=len))


def _to_json(value: Any, *, is_path: bool) -> Any:
    if isinstance(value, list | tuple):
        return [_to_json(item, is_path=is_path) for item in value]
    if isinstance(value, Enum):
        return value.value
    return Path(value).name if is_path or isinstance(value, Path) else value
