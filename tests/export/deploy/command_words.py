"""Whether the command line would accept a command that a deployed service runs."""

from __future__ import annotations

from collections.abc import Sequence

import typer.main

from vegrt.cli import app


def parse(words: Sequence[str]) -> dict[str, object]:
    """Return the arguments of `vegrt WORDS` by name; nothing is run. Raises click's UsageError for an unknown option."""
    group = typer.main.get_command(app)
    context = group.make_context("vegrt", list(words))
    name, command, rest = group.resolve_command(context, [*words])  # type: ignore[attr-defined]
    parameters: dict[str, object] = command.make_context(name, rest).params
    return parameters
