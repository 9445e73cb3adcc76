"""SIGTERM as Ctrl-C: once, in the main thread, not in forked children, and not where somebody else decided otherwise."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

START = "import os, signal, sys, threading, time; from vegrt.terminal.interrupts import *; terminate_as_interrupt()\n"
END = """
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGTERM)  # sent twice: what cleans up now is not disturbed
    print("interrupted")
"""


def run(program: str, *, ignored: bool = False) -> subprocess.CompletedProcess[str]:
    shell = ["sh", "-c", 'trap "" TERM INT; exec "$@"' if ignored else 'trap "" INT; exec "$@"', "sh"]
    return subprocess.run([*shell, sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


def test_sigterm_raises_keyboard_interrupt_once() -> None:
    done = run(START + END)
    assert (done.stdout, done.returncode) == ("interrupted\n", 0), done.stderr


def test_a_sigterm_that_was_ignored_stays_ignored() -> None:
    done = run(START + "os.kill(os.getpid(), signal.SIGTERM); print('here')", ignored=True)
    assert (done.stdout, done.returncode) == ("here\n", 0), done.stderr


def test_a_forked_child_ends_by_it() -> None:
    child = "pid = os.fork()\nif not pid: os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)\n"
    done = run(START + child + "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))")
    assert done.stdout == f"{-signal.SIGTERM}\n", done.stderr


@pytest.mark.parametrize(
    ("ending", "message"), [("pass", ""), ("raise ValueError('the loss is not finite')", "the loss is not finite")]
)
def test_where_it_is_noted_it_is_raised_at_the_end_however_that_comes(ending: str, message: str) -> None:
    noting = (
        "try:\n"
        "    with noting_interrupts() as found:\n"
        "        for _ in range(3): os.kill(os.getpid(), signal.SIGTERM)\n"
        f"        print(found.noted); {ending}\n"
        "except KeyboardInterrupt as error: print(repr(str(error)))\n"
    )
    done = run(START + noting + "os.kill(os.getpid(), signal.SIGTERM); print('goes on')")
    assert (done.stdout, done.returncode) == (f"True\n{message!r}\ngoes on\n", 0), done.stderr


def test_an_error_without_an_interrupt_stays_what_it_is() -> None:
    done = run(START + "with noting_interrupts(): raise ValueError('the loss is not finite')")
    assert (done.stderr.splitlines()[-1], done.returncode) == ("ValueError: the loss is not finite", 1)


def test_a_library_that_takes_it_does_not_keep_it() -> None:
    taking = "with keeping_sigterm(): signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))\n"
    done = run(START + taking + END)
    assert (done.stdout, done.returncode) == ("interrupted\n", 0), done.stderr


@pytest.mark.parametrize("word", ["noting_interrupts()", "keeping_sigterm()"])
def test_outside_the_main_thread_nothing_is_taken(word: str) -> None:
    inner = (
        f"def work():\n    with {word}: pass\nthread = threading.Thread(target=work); thread.start(); thread.join()\n"
    )
    done = run(START + inner + END)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
