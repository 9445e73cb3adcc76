"""The command lines of vegrt that the documentation shows: in code blocks, and in the text as `vegrt ...`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEPARATORS = ("|", "||", "&&", ";", ";;", ">", ">>", "&")
_PREFIX = re.compile(r"^(?:- )?(?:run: )?(?:\$ )?(?:\.venv/bin/)?")  # of YAML steps and shell prompts


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command of vegrt in a page. words: without `vegrt`; a placeholder of one capital, such as K, is the number 1.

    complete: it has all of its arguments. In the text, and where it ends in `...`, some may be missing.
    """

    page: str
    line: int
    words: tuple[str, ...]
    complete: bool

    def __str__(self) -> str:
        """Return where it is, and the command."""
        return f"{self.page}:{self.line}: vegrt {shlex.join(self.words)}"


def pages() -> list[Path]:
    """Return README.md and all pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def command_lines(page: Path) -> Iterator[CommandLine]:
    """Yield the command lines of a page in their order."""
    name, fenced = page.relative_to(ROOT).as_posix(), False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield from (_command_line(name, number, words, in_block=True) for words in in_code(line))
        inline = () if fenced else re.findall(r"`(vegrt [^`]+)`", line)
        yield from (_command_line(name, number, words, in_block=False) for code in inline for words in in_code(code))


def _command_line(page: str, line: int, words: tuple[str, ...], *, in_block: bool) -> CommandLine:
    given = ("1" if len(word) == 1 and word in "KN" else word for word in words if word != "...")
    return CommandLine(page, line, tuple(given), complete=in_block and "..." not in words)


def in_code(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the words after `vegrt` of each command in a line of a shell, without comments and brackets of optional words."""
    try:
        words = shlex.split(_PREFIX.sub("", line.strip()), comments=True)
    except ValueError:  # a quote that is not closed: no shell
        return
    command: list[str] = []
    for word in (*words, ";"):
        if word not in SEPARATORS:
            command.append(word.strip("[]") if word != "[]" else word)
            continue
        yield from _of_vegrt(command)
        command = []


def _of_vegrt(words: list[str]) -> Iterator[tuple[str, ...]]:
    if words[:1] == ["vegrt"] and len(words) > 1:
        yield tuple(words[1:])
    elif "vegrt.cli" in words[:-1] and words[0] in ("torchrun", "python"):
        yield tuple(words[words.index("vegrt.cli") + 1 :])
