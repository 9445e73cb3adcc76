"""Closed, full and broken standard streams, and names that would command a terminal: real processes, real descriptors."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vegrt.bundle.bundle import Bundle
from vegrt.commands.options.console import SafeConsole
from vegrt.files.text import as_utf8, json_text, printable, printable_lines
from vegrt.terminal.streams import ReaderLeft

MAIN = "from vegrt.cli import main; main()"
HOSTILE = "\x1b]0;pwned\x07\x9b31m\x7f\u202e\u2028\u2069\x00\x85é한"
ESCAPED = r"\x1b]0;pwned\x07\u009b31m\u007f\u202e\u2028\u2069\x00\u0085é한"
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")  # what rich and the terminal itself write


def shell(redirection: str, *words: object, main: str = MAIN, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the command with a shell's redirections behind it."""
    line = f'exec "$@" {redirection}'
    command = ["bash", "-o", "pipefail", "-c", line, "bash", sys.executable, "-c", main, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


def on_a_terminal(*words: object) -> str:
    """Return what the command, its stdout and stderr, writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", MAIN, *map(str, words)], stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = b""
    while True:
        try:
            block = os.read(ours, 1 << 16)
        except OSError:  # Linux says so where the other side is closed
            break
        if not block:
            break
        output += block
    os.close(ours)
    process.wait(timeout=60)
    return output.decode()


def is_safe(text: str) -> bool:
    return not any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in "\u202e\u2066\u2069"
        for character in text
    )


def one_line(text: str) -> str:
    (line,) = [line for line in text.splitlines() if " on onnxruntime (" not in line]
    assert line.startswith("vegrt: ")
    return line


@given(st.text(max_size=20))
def test_what_is_printable_holds_no_control_character_and_json_is_exact(text: str) -> None:
    assert is_safe(printable(text))
    assert is_safe(printable_lines(text).replace("\n", "").replace("\t", ""))
    assert is_safe(json_text(text))
    assert json.loads(json_text({text: text})) == {text: text}
    assert printable(printable(text)) == printable(text)


def test_names_of_any_bytes() -> None:
    name = os.fsdecode(b"a\xff\x1b\n\xc2\x9b\xe2\x80\xae.jpg")
    assert printable(Path(name)) == r"a\xff\x1b\n\u009b\u202e.jpg"
    assert as_utf8(Path(name)) == "a\\xff\x1b\n\x9b\u202e.jpg"
    assert (
        printable("emoji \U0001f469\u200d\U0001f33e, 한국어, \xa0") == "emoji \U0001f469\u200d\U0001f33e, 한국어, \xa0"
    )


@pytest.mark.parametrize(
    "words", [["doctor"], ["doctor", "--json"], ["infer", "--help"], ["bundle", "--help"], ["--version"]], ids=str
)
def test_stdout_in_every_state(words: list[str]) -> None:
    """Exit code 141 for a reader that left, 1 and one line for a full or closed stdout: tables, JSON, help and version."""
    done = shell("| true", *words)
    assert done.returncode == 141, done
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr
    full = shell("> /dev/full", *words)
    assert (full.returncode, one_line(full.stderr)) == (
        1,
        "vegrt: stdout: writing failed (No space left on device); free some space, then repeat the command",
    )
    closed = shell(">&-", *words)
    assert closed.returncode == 1
    assert one_line(closed.stderr).startswith("vegrt: stdout: closed")


def test_a_missing_stderr_ends_nothing() -> None:
    for redirection in ("2>&-", "2>/dev/full"):
        done = shell(redirection, "infer", "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout
        assert shell(f"{redirection} >&-", "verify", "none").returncode == 1


def test_a_closed_descriptor_is_not_the_next_file(tmp_path: Path) -> None:
    """Else what a native library says on stderr would be written into the first file that is opened."""
    program = f"""
import os
from vegrt.terminal.streams import open_missing_streams
open_missing_streams()
with open({str(tmp_path / "file")!r}, "w") as file:
    assert file.fileno() > 2
    os.system("echo said >&2")
    file.write("mine")
"""
    assert shell("<&- >&- 2>&-", main=program).returncode == 0
    assert (tmp_path / "file").read_text() == "mine"


def test_prints_of_native_libraries_and_child_processes_do_not_reach_stdout() -> None:
    program = """
import ctypes, os, sys
from vegrt.terminal.streams import open_missing_streams
open_missing_streams()
print("first result")
ctypes.CDLL(None).puts(b"chatter")
ctypes.CDLL(None).fflush(None)
os.system("echo chatter of a child")
print("second result")
"""
    done = shell("", main=program)
    assert done.stdout == "first result\nsecond result\n"
    assert done.stderr == "chatter\nchatter of a child\n"


def test_a_narrow_encoding_is_no_traceback() -> None:
    program = "from vegrt.terminal.streams import open_missing_streams; open_missing_streams(); "
    program += "from vegrt.commands.options.shared import show; show({'a': '한\U0001f955'}, True)"
    for encoding in ("ascii", "latin-1", "euc_kr"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment)
        text = done.stdout.decode("utf-8" if encoding == "ascii" else encoding)
        assert json.loads(text) == {"a": "한\U0001f955"}


def test_infer_with_closed_streams(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    words = ["infer", photos / "test/Beet", "--bundle", bundle.path, "--runtime", "onnxruntime"]
    assert shell("<&- >&- 2>&-", *words, "-o", tmp_path / "x.csv").returncode == 0
    assert (tmp_path / "x.csv").read_text().count("\n") == 21
    closed = shell("<&-", "infer", "-", "--bundle", bundle.path)
    assert (closed.returncode, one_line(closed.stderr)[:22]) == (1, "vegrt: stdin: closed; ")
    nowhere = shell(">&-", *words)
    assert (nowhere.returncode, one_line(nowhere.stderr)[:23]) == (1, "vegrt: stdout: closed, ")


def test_a_reader_that_leaves_does_not_end_the_work_for_the_file(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    words = ["infer", photos / "test", "--bundle", bundle.path, "--runtime", "onnxruntime", "--batch", 2]
    done = shell("| true", *words, "--print", "-o", tmp_path / "x.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.csv").read_text().count("\n") == 61
    assert shell("| true", *words).returncode == 141


def test_a_progress_bar_on_the_terminal_does_not_change_the_exit_code(bundle: Bundle, photos: Path) -> None:
    words = ["infer", photos / "test", "--model", bundle.path, "--runtime", "onnxruntime"]
    ours, theirs = pty.openpty()
    for options, redirection, code in (([], "| true", 141), (["--json"], "| true", 141), ([], "> /dev/full", 1)):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f'"$@" {redirection}', "bash", sys.executable, "-c", MAIN]
            + [str(word) for word in (*words, *options)],
            stderr=theirs,
            timeout=120,
        )
        assert done.returncode == code
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "Inferring" in shown
    assert "Traceback" not in shown


def test_a_table_for_a_reader_that_left_raises_as_all_output_does() -> None:
    class Left(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(ReaderLeft):  # rich alone would exit with 1
        SafeConsole(file=Left()).print("x")


def test_an_interrupt_while_commands_are_loaded_is_130_and_one_line() -> None:
    program = """
import vegrt.cli
def interrupted(names, completion): raise KeyboardInterrupt
vegrt.cli.application = interrupted
vegrt.cli.main()
"""
    done = shell("", "doctor", main=program)
    assert (done.returncode, done.stderr) == (130, "vegrt: interrupted\n")


def test_no_name_commands_the_terminal(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    """File names in rows, errors and messages; what was typed, where it is wrong; names of runs in tables."""
    (folder := tmp_path / "photos").mkdir()
    name = HOSTILE.replace("\x00", "")
    escaped = ESCAPED.replace(r"\x00", "")
    (folder / f"{name}.jpg").write_bytes((photos / "test/Beet/000.jpg").read_bytes())
    (folder / f"{name}-bad.jpg").write_text("text")
    words = ["infer", folder, "--bundle", bundle.path, "--runtime", "onnxruntime"]
    shown = COLOUR.sub("", on_a_terminal(*words, "--annotate", tmp_path / "seen"))
    assert f"{escaped}.jpg\t" in shown
    assert f"{escaped}-bad.jpg\terror\t" in shown
    assert f"{escaped}-bad.jpg: not a photo" in shown
    assert is_safe(shown.replace("\n", "").replace("\t", ""))
    piped = shell("", *words, "--json")
    assert is_safe(piped.stdout.replace("\n", ""))
    paths = [row["path"] for row in json.loads(piped.stdout)["predictions"]]
    assert sorted(paths) == sorted(str(path) for path in folder.iterdir())  # a program gets the name itself
    for wrong in (["infer", f"--{name}"], ["infer", f"{folder}/{name}", *words[2:]], ["verify", name]):
        shown = COLOUR.sub("", on_a_terminal(*wrong))
        assert r"pwned\x07" in shown
        assert is_safe(shown.replace("\n", ""))


def test_no_name_in_a_table_commands_the_terminal() -> None:
    program = f"""
from rich.table import Table
from rich.text import Text
from vegrt.commands.options.shared import show
from vegrt.terminal.streams import open_missing_streams
open_missing_streams()
table = Table(title={HOSTILE!r}, caption={HOSTILE!r})
table.add_column({HOSTILE!r})
table.add_row({HOSTILE!r}, style="red")
table.add_row(Text({HOSTILE!r}))
show(table, False)
"""
    done = shell("", main=program, env={**os.environ, "FORCE_COLOR": "1"})
    assert "\x1b[31m" in done.stdout  # rich's own colours are there
    assert is_safe(COLOUR.sub("", done.stdout).replace("\n", ""))
    assert done.stdout.count(r"\u009b") >= 3
