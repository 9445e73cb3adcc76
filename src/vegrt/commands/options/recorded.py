"""How a command was asked for, as it is kept in results and manifests: its name and every option that is not its default."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import typer

# They say how the answer is shown, or where it goes, not what it is.
UNRECORDED = frozenset({"--json", "--help"})


def recorded(ctx: typer.Context) -> dict[str, Any]:
    """Return {"name", "options"} of the command that is running: values of the given options by flag, as JSON values.

    It reads the command's own table of options, so that no flag can be forgotten. Of files and folders the name alone is kept:
    where they lie is nobody's business, and a bundle is given away.
    """
    options: dict[str, Any] = {}
    for option in ctx.command.params:
        value = ctx.params.get(option.name or "")
        if option.param_type_name != "option" or value in (None, (), []) or value == option.get_default(ctx):
            continue
        if (flag := _flag(option, value)) not in UNRECORDED:
            options[flag] = _plain(value, of_file=_takes_a_path(option))
    return {"name": ctx.command.name, "options": options}


def _takes_a_path(option: Any) -> bool:
    """Return whether an option takes a file or folder, as far as the command line knows."""
    return getattr(option.type, "name", "") in ("path", "file", "directory", "filename")


def _flag(option: Any, value: Any) -> str:
    """Return the long name of an option; of a switch, the one that was turned."""
    names = option.secondary_opts if value is False and option.secondary_opts else option.opts
    return str(max(names, key=len))


def _plain(value: Any, *, of_file: bool) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one, of_file=of_file) for one in value]
    if isinstance(value, Enum):
        return value.value
    return Path(value).name if of_file or isinstance(value, Path) else value
