"""The command line for tests: `vegrt` run in this process."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner, Result

from vegrt.cli import app


def call(*words: object, stdin: bytes | None = None) -> Result:
    """Return the exit code and the output of `vegrt WORDS`; each word is passed as its text."""
    return CliRunner().invoke(app, [str(word) for word in words], input=stdin)


def answer(*words: object, exit_code: int = 0) -> Any:
    """Return the one JSON object that `vegrt WORDS --json` prints, which ends with `exit_code`."""
    result = call(*words, "--json")
    assert result.exit_code == exit_code, result.output
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def failure(*words: object) -> str:
    """Return the one line that `vegrt WORDS` prints on stderr, which fails with exit code 1 and prints nothing else."""
    result = call(*words)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("vegrt: ")
    return line
