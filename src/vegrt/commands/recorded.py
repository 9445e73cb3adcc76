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
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "")
        default = parameter.get_default(ctx)
        if parameter.param_type_name != "option" or value is None or _plain(value) == _plain(default):
            continue
        flag = _flag(parameter, value)
        if flag not in UNRECORDED and value not in ((), []):
            options[flag] = _plain(value)
    return {"name": ctx.command.name, "options": options}


def _flag(option: Any, value: Any) -> str:
    """Return the long name of an option; of a switch, the one that was turned."""
    names = option.secondary_opts if value is False and option.secondary_opts else option.opts
    return max(names, key=len)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    return value.name if isinstance(value, Path) else value
