"""Lets every file operation of every command fail in turn; the artifact must be the old or the new one, and the next run whole.

python tests/slow/failing_io.py WORK [--command NAME ...] [--skip NAME ...] [--fault NAME ...] [--every N]
       [--jobs N]

WORK: a folder for the subjects and `points.jsonl`; a run that is interrupted goes on there. Faults of the n-th operation, n = 1,
2, ... until a run passes untouched: full (no space from then on), broken (an I/O error, once), refused (no permission, once),
killed. Every point runs in a process forked from this one, in which everything is imported. Prints what is wrong, and a table.

A point is right if the command ends with its usual code, or with 1 and one line on stderr; if its files are then the old or the
new ones, the bundle opens with every hash compared, the same command completes afterwards, and leaves exactly the files that an
undisturbed run leaves.
"""

from __future__ import annotations

import argparse
import errno
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests

from tests.slow.failing_cases import CASES, Case
from tests.slow.failing_files import Tree, problems_of, side_of, tree_of
from tests.watched_io import failing, watched
from vegrt.files.temporary import make_temporary, release_temporary

FAULTS: dict[str, tuple[int | None, bool]] = {
    "full": (errno.ENOSPC, True),
    "broken": (errno.EIO, False),
    "refused": (errno.EACCES, False),
    "killed": (None, False),
}
LIMIT_S = 120
KILLED = -signal.SIGKILL
OF_MNN = ("The device supports: ", "MNN use high precision")  # printed by its native code


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. code: its exit code, or minus the signal. operations: how many it had."""

    code: int
    output: str
    errors: str
    operations: int = 0
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """What one failing operation led to. side: old, new, part of each, or the same. problems: what is wrong."""

    command: str
    fault: str
    number: int
    operation: str
    code: int
    side: str
    problems: list[str] = field(default_factory=list)

    @property
    def untouched(self) -> bool:
        """Whether the command had fewer operations than that."""
        return not self.operation


def run(case: Case, folder: Path, more: tuple[str, ...] = (), *, number: int = 0, fault: str = "broken") -> Ended:
    """Run the command of a case in a child process, whose operation of this number fails; 0: none."""
    logs = folder.parent / f"{folder.name}-logs"
    logs.mkdir(exist_ok=True)
    pid = os.fork()
    if pid == 0:
        _run_here(case, folder, more, logs, number, fault)
    code = _wait(pid)
    failed = (logs / "failed").read_text() if (logs / "failed").exists() else ""
    (logs / "failed").unlink(missing_ok=True)
    count = int((logs / "count").read_text()) if (logs / "count").exists() else 0
    (logs / "count").unlink(missing_ok=True)
    return Ended(code, (logs / "out").read_text(), (logs / "err").read_text(), count, failed)


def _wait(pid: int) -> int:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGALRM


def _run_here(case: Case, folder: Path, more: tuple[str, ...], logs: Path, number: int, fault: str) -> None:
    code = 70
    try:
        for descriptor, name in enumerate(("/dev/null", str(logs / "out"), str(logs / "err"))):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666), descriptor)
        (folder / "tmp").mkdir(exist_ok=True)
        os.environ |= {
            "TMPDIR": str(folder / "tmp"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "HOME": str(folder / "home"),
        }
        tempfile.tempdir = str(folder / "tmp")  # without a probe whether it can be written
        os.chdir(folder)
        error, lasts = FAULTS[fault]
        before, operations = failing(number, error, lasts=lasts)
        real_open, real_write = os.open, os.write

        def noting(operation: Any) -> BaseException | None:
            outcome = before(operation)
            if number and len(operations) >= number and not noted:
                noted.append(True)
                text = f"{operations[number - 1].name} {os.path.relpath(operations[number - 1].path, folder)}"
                real_write(real_open(logs / "failed", os.O_CREAT | os.O_WRONLY, 0o666), text.encode())
            return outcome

        noted: list[bool] = []
        with watched(noting, [folder], [folder / name for name in case.inputs]):
            code = case.call(more)
        (logs / "count").write_text(str(len(operations)))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@dataclass(frozen=True, slots=True)
class Reference:
    """An undisturbed run. new: the files after it. lines: what it prints on stderr."""

    new: Tree
    lines: frozenset[str]


def try_point(case: Case, base: Path, folder: Path, reference: Reference, fault: str, number: int) -> Point:
    """Let one operation fail, judge what is left, and repeat the command."""
    shutil.rmtree(folder, ignore_errors=True)
    case.prepare(base, folder)
    old, new = tree_of(folder), reference.new
    ended = run(case, folder, number=number, fault=fault)
    if os.environ.get("FAULTS_SHOW"):
        sys.stderr.write(f"{number} {ended.failed}: {ended.code}\n{ended.output[-600:]}{ended.errors}\n")
    if not ended.failed:
        return Point(case.name, fault, number, "", ended.code, "new", _odd_end(case, ended, "new", fault, reference))
    side, problems = side_of(case, folder, old, new)
    problems += _odd_end(case, ended, side, fault, reference)
    again = case.again(folder, side, ended.code)
    repeated = run(case, folder, again or ())
    if again is None and repeated.code == 1:
        if not any(words in repeated.errors for words in (": exists", ": is not empty")):
            problems.append(f"repeated: exit {repeated.code}, {repeated.errors.strip()[-400:]}")
    elif repeated.code not in case.codes:
        problems.append(f"repeated with {again}: exit {repeated.code}, {repeated.errors.strip()[-400:]}")
    else:
        _use_working_folders(folder / "tmp")
        problems += [f"repeated: {problem}" for problem in problems_of(case, folder, new)]
    return Point(case.name, fault, number, ended.failed, ended.code, side, problems)


def _use_working_folders(folder: Path) -> None:
    """Make and remove a working folder for each purpose that has one here: this removes what a refused deletion left."""
    for purpose in {path.name.split(".")[1] for path in folder.glob(".vegrt-*.tmp")}:
        temporary, descriptor = make_temporary(folder / purpose, folder=True)
        temporary.rmdir()
        release_temporary(temporary, descriptor)


def _odd_end(case: Case, ended: Ended, side: str, fault: str, reference: Reference) -> list[str]:
    if ended.failed and fault == "killed":
        return [] if ended.code == KILLED else [f"exit {ended.code} instead of a kill: {ended.errors[-300:]}"]
    lines = [line for line in ended.errors.splitlines() if line not in reference.lines and not line.startswith(OF_MNN)]
    if "Traceback" in ended.errors:
        return [f"exit {ended.code} with a traceback: {ended.errors.strip()[-600:]}"]
    if strange := [line for line in lines if not line.startswith("vegrt: ")]:
        return [f"exit {ended.code}, a line of somebody else: {strange[0][:300]}"]
    if ended.code == 1:
        return [] if len(lines) == 1 else [f"exit 1 with {len(lines)} lines: {lines}"]
    if ended.code not in case.codes:
        return [f"exit {ended.code}: {ended.errors.strip()[-400:]}"]
    return [] if side in ("new", "same") else [f"exit {ended.code}, but the files are {side}"]


def points_of(
    case: Case, work: Path, fault: str, done: dict[tuple[str, str, int], Point], jobs: int, every: int
) -> Iterator[Point]:
    """Yield the points of a command and a fault, one process for each, `jobs` at a time; of each `every` points one."""
    reference = reference_of(case, work / "base", work / f"{case.name}-reference")
    children: dict[int, int] = {}
    number, ended = 1 - every, False
    while True:
        while not ended and len(children) < jobs:
            number += every
            if (earlier := done.get((case.name, fault, number))) is not None:
                ended |= earlier.untouched
                if not earlier.untouched:
                    yield earlier
                continue
            children[_start(case, work, reference, fault, number)] = number
        if not children:
            return
        pid, status = os.wait()
        place = work / f"{case.name}-{children[pid]}"
        result = Path(f"{place}-point.json")
        if status or not result.exists():
            raise SystemExit(f"{case.name} {fault} {children[pid]}: the judge failed; see its traceback above")
        point = Point(**json.loads(result.read_text()))
        with (work / "points.jsonl").open("a") as file:
            file.write(json.dumps(asdict(point)) + "\n")
        if not point.problems:
            shutil.rmtree(place, ignore_errors=True)
        result.unlink()
        shutil.rmtree(f"{place}-logs", ignore_errors=True)
        del children[pid]
        ended |= point.untouched
        if not point.untouched or point.problems:
            yield point


def _start(case: Case, work: Path, reference: Reference, fault: str, number: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        place = work / f"{case.name}-{number}"
        point = try_point(case, work / "base", place, reference, fault, number)
        Path(f"{place}-point.json").write_text(json.dumps(asdict(point)))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def reference_of(case: Case, base: Path, folder: Path) -> Reference:
    """Run the command undisturbed."""
    shutil.rmtree(folder, ignore_errors=True)
    case.prepare(base, folder)
    ended = run(case, folder)
    if ended.code not in case.codes:
        raise SystemExit(f"{case.name}: exit {ended.code} without a fault\n{ended.output}{ended.errors}")
    tree = tree_of(folder)
    if wrong := problems_of(case, folder, tree):
        raise SystemExit(f"{case.name}: {wrong}")
    return Reference(tree, frozenset(ended.errors.splitlines()))


def read_points(file: Path) -> dict[tuple[str, str, int], Point]:
    """Return the right points of earlier runs; wrong ones are tried again."""
    if not file.exists():
        return {}
    points = [Point(**json.loads(line)) for line in file.read_text().splitlines()]
    return {(point.command, point.fault, point.number): point for point in points if not point.problems}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--command", action="append", help="part of a case's name")
    parser.add_argument("--fault", action="append", choices=FAULTS)
    parser.add_argument("--skip", action="append", default=[], help="part of a case's name")
    parser.add_argument("--every", type=int, default=1, help="try only every N-th operation")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    warm_up()
    make_subjects(work / "base")
    done, wrong = read_points(work / "points.jsonl"), 0
    sys.stdout.write(
        "| command | points | old | new | part | same | exit 1 | completed | killed | wrong |\n" + "|---" * 10 + "|\n"
    )
    total: Counter[str] = Counter()
    for case in CASES:
        if options.command and not any(name in case.name for name in options.command):
            continue
        if any(name in case.name for name in options.skip):
            continue
        counts: Counter[str] = Counter()
        for fault in options.fault or FAULTS:
            for point in points_of(case, work, fault, done, options.jobs, options.every):
                counts.update(_counted(point))
                if point.problems:
                    sys.stderr.write(f"{case.name} {fault} {point.number} ({point.operation}): {point.problems}\n")
        names = ("points", "old", "new", "part", "same", "exit 1", "completed", "killed", "wrong")
        sys.stdout.write(f"| {case.name} | " + " | ".join(str(counts[name]) for name in names) + " |\n")
        sys.stdout.flush()
        total += counts
        wrong += counts["wrong"]
    sys.stdout.write(f"{total['points']} points, {wrong} wrong\n")
    raise SystemExit(bool(wrong))


def _counted(point: Point) -> list[str]:
    end = "killed" if point.code == KILLED else "exit 1" if point.code == 1 else "completed"
    return ["points", point.side, end, *(["wrong"] if point.problems else [])]


def warm_up() -> None:
    """Import everything that the commands use; nothing that starts threads may run."""
    import importlib
    import pkgutil

    import vegrt
    from vegrt.cli import application

    for module in pkgutil.walk_packages(vegrt.__path__, "vegrt."):
        if not module.name.startswith("vegrt.export.deploy.kit.runtimes."):
            try:
                importlib.import_module(module.name)
            except ImportError as error:
                sys.stderr.write(f"{module.name}: {error}\n")
    application()
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page of what is imported here


def make_subjects(base: Path) -> None:
    """Write the bundle, the data and the other files that the cases copy, once."""
    from tests.slow.failing_cases import add_subjects
    from tests.slow.fuzz.base import make_base

    if (base / "complete").exists():
        return
    make_base(base, _run_words)
    add_subjects(base, _checked_words)
    (base / "complete").touch()


def _run_words(words: list[str]) -> tuple[str, str]:
    from tests.command_line import call

    result = call(*words)
    return str(result.exit_code), result.output + ("" if result.exception is None else repr(result.exception))


def _checked_words(words: list[str]) -> None:
    pid = os.fork()
    if pid == 0:
        code, output = _run_words(words)
        sys.stderr.write("" if code in ("0", "3", "4") else f"{words}: {output}\n")
        os._exit(code not in ("0", "3", "4"))
    if os.waitpid(pid, 0)[1]:
        raise SystemExit(f"cannot make the subjects: vegrt {' '.join(words)}")


Command = Callable[[tuple[str, ...]], int]

if __name__ == "__main__":
    main()
