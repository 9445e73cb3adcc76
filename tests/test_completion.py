"""Shells complete command lines without loading a library, and a bug report gets its versions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import typer

from tests.command_line import call
from vegrt.cli import app

PROGRAM = (
    "import sys, atexit; sys.argv = ['vegrt']\n"
    "loaded = lambda: {'torch', 'numpy', 'PIL', 'onnxruntime', 'rich', 'filelock'} & {*sys.modules}\n"
    "atexit.register(lambda: print(len([name for name in sys.modules if name.startswith('vegrt.commands.')]), loaded() or '',"
    " file=sys.stderr))\n"
    "from vegrt.cli import main; main()\n"
)


def completed(words: str) -> tuple[list[str], int]:
    """Return what bash is offered after these words, and how many modules of commands were loaded. Fails for a heavy library."""
    environ = {
        **os.environ,
        "_VEGRT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, env=environ)
    count, _, heavy = done.stderr.strip().partition(" ")
    assert heavy == ""
    return done.stdout.split(), int(count)


def test_options_of_a_command_are_completed_with_that_command_alone() -> None:
    offered, loaded = completed("vegrt evaluate --m")
    assert offered == ["--margin"]
    assert completed("vegrt evaluate --device ")[0] == ["cpu", "cuda"]
    names, all_loaded = completed("vegrt e")
    assert names == ["export", "evaluate"]
    assert loaded < all_loaded
    assert completed("vegrt deploy tri")[0] == ["triton"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    done = call("--show-completion", shell)
    assert done.exit_code == 0
    assert f"complete_{shell}" in done.stdout


def test_versions_are_json() -> None:
    words = [sys.executable, "-m", "vegrt", "--version"]
    plain = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    facts = json.loads(call("--version", "--json").stdout)
    assert plain == f"vegrt {facts['vegrt']}\n"
    assert facts.keys() == {"vegrt", "python", "platform", "runtimes"}
    assert facts["python"] == sys.version.split()[0]
    assert {"onnxruntime", "openvino", "torch"} <= facts["runtimes"].keys()
    assert call("--json", "doctor").exit_code == 2


def leaves(group: Any) -> list[Any]:
    """Return all commands below a group."""
    commands = [group.commands[name] for name in group.commands]
    return [leaf for command in commands for leaf in (leaves(command) if hasattr(command, "commands") else [command])]


def test_help_shows_every_default() -> None:
    silent = []
    for command in leaves(typer.main.get_command(app)):
        with command.make_context(command.name, [], resilient_parsing=True) as ctx:
            for option in command.params:
                value = option.get_default(ctx)
                if option.param_type_name != "option" or option.hidden or value in (None, False, "", [], ()):
                    continue
                _, text = option.get_help_record(ctx)
                if "default" not in text:
                    silent.append(f"{command.name} {option.opts[0]}")
    assert silent == []
