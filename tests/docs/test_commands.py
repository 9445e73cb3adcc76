"""Every command line of vegrt in the documentation is one that the program accepts; nothing is run."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer

from tests.docs.command_lines import ROOT, CommandLine, command_lines, in_code, pages
from vegrt.cli import app

LINES = [line for page in pages() for line in command_lines(page)]
NEEDS_GPU = ("--device cuda", "--runtime tensorrt", "--runtime onnxruntime-tensorrt", "--rebuild", "--engine --")
PROGRAM: Any = typer.main.get_command(app)


def named(line: CommandLine) -> tuple[Any, list[str]]:
    """Return the command that a line names, and the words after its name. Raises LookupError if there is none."""
    command, words = PROGRAM, list(line.words)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            raise LookupError(f"no command {words[0]}")
        command = command.commands[words.pop(0)]
    return command, words


def fault(line: CommandLine) -> str:
    """Return why the program would refuse a line; empty if it would not. In a text, arguments and values may be missing."""
    try:
        command, words = named(line)
        if not hasattr(command, "commands") and (words or line.complete) and "--help" not in words:
            command.make_context(command.name, words)
    except Exception as error:
        is_missing = type(error).__name__ == "MissingParameter" or "requires an argument" in str(error)
        return "" if is_missing and not line.complete else f"{line}: {error!s:.200}"
    return ""


def test_every_command_line_in_the_docs_is_accepted() -> None:
    assert len(LINES) > 300
    assert [text for line in LINES if (text := fault(line))] == []


@pytest.mark.parametrize(
    "command",
    ["evaluates B", "evaluate B --data D --margins 1", "evaluate", "data splits D", "bench B --rounds many", "trust B"],
)
def test_a_wrong_command_line_is_not_accepted(command: str) -> None:
    assert fault(CommandLine("page", 1, tuple(command.split()), True))


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("vegrt doctor    # what runs here", [("doctor",)]),
        ("find . -print0 | vegrt infer - -0 -o out.csv", [("infer", "-", "-0", "-o", "out.csv")]),
        ("cd x && vegrt verify B && vegrt bench B", [("verify", "B"), ("bench", "B")]),
        ("- run: vegrt verify B > log", [("verify", "B")]),
        ("torchrun --nproc-per-node 2 -m vegrt.cli train --out B", [("train", "--out", "B")]),
        ("vegrt: an error", []),
        ("import vegrt", []),
    ],
)
def test_commands_are_found_in_a_line(line: str, commands: list[tuple[str, ...]]) -> None:
    assert list(in_code(line)) == commands


def test_the_page_of_all_commands_shows_every_command() -> None:
    shown = {named(line)[0] for line in LINES if line.page == "docs/guide/commands.md"}
    assert [name for name, command in leaves(PROGRAM) if command not in shown] == []


def leaves(group: Any) -> list[tuple[str, Any]]:
    """Return the name and the command of everything that can be called below a group."""
    commands = []
    for name, command in group.commands.items():
        commands += leaves(command) if hasattr(command, "commands") else [(f"{group.name} {name}", command)]
    return commands


def test_pages_of_the_guide_say_what_they_need() -> None:
    for page in sorted((ROOT / "docs/guide").glob("*.md")):
        assert re.match(r"# .+\n\n\*\*Needs:\*\* ", page.read_text(encoding="utf-8")), page


def test_pages_with_commands_for_a_gpu_say_so() -> None:
    for line in LINES:
        if any(option in f"{' '.join(line.words)} --" for option in NEEDS_GPU) and line.page.startswith("docs/guide/"):
            assert re.search(r"[Nn]eeds? an NVIDIA GPU", (ROOT / line.page).read_text(encoding="utf-8")), str(line)


def test_make_targets_that_the_docs_show_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages())
    shown = re.findall(r"^ *make ([a-z -]+?)(?: [A-Z]+=.*| *#.*)?$|`make ([a-z -]+)`", text, re.MULTILINE)
    targets = {target for words in shown for target in "".join(words).split()}
    assert targets >= {"demo", "test", "train", "docs"}
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_links_of_the_readme_lead_to_files_and_headings() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#([^)]+))?\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 20
    for file, anchor in links:
        headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_bytes().decode(errors="replace"), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, f"{file}#{anchor}"


def test_the_readme_is_short_and_every_claim_has_a_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 120
    claims = re.search(r"\| claim \| see it \|\n\|---\|---\|\n((?:\|.*\n)+)", text)
    assert claims
    rows = claims[1].splitlines()
    assert len(rows) > 5
    assert [row for row in rows if "`vegrt " not in row and "the same:" not in row] == []
