"""A small bundle that is changed again and again, by writers that are killed, and by two writers while others read it.

python tests/slow/changes.py kills [N]           SIGKILL at N random moments: the old or the new bundle, and the next change works
python tests/slow/changes.py interleavings [N]   N changes by two writers, two readers beside them: none is lost, no reading fails
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing, exclusive
from vegrt.bundle.entries import COMMIT, MANIFEST
from vegrt.bundle.manifest import Manifest
from vegrt.errors import BundleError
from vegrt.photo.contract import Contract

FILES = 12
ROUNDS = 200


def change(path: Path) -> int:
    """Count one further: every file and the manifest say the number. Odd ones have a file more. Returns it."""
    with exclusive(path, make=True):
        count = count_of(open_bundle(path)) + 1 if (path / MANIFEST).exists() else 0
        with changing(path) as staging:
            names = ["weights.safetensors", *(f"engines/{place}/int8.engine" for place in range(FILES + count % 2))]
            for name in names:
                staging.file(name).write_text(f"{count:08d}" * 100)
                staging.add(name, "engine" if name.startswith("engines") else "weights")
            manifest = Manifest("m", ("a", "b"), Contract(), {"backbone": "none"}, training={"count": count})
            staging.finish(manifest)
    return count


def count_of(bundle: Bundle) -> int:
    """Return the number of a bundle, all of whose files must say the same."""
    count = int(bundle.manifest.training["count"])
    contents = [bundle.path_of(artifact.path).read_text() for artifact in bundle.manifest.artifacts]
    if bundle.is_current() and (set(contents) != {f"{count:08d}" * 100} or len(contents) != 1 + FILES + count % 2):
        raise AssertionError(f"a mixture: {count}, {sorted({content[:8] for content in contents})}")
    return count


def write(out: TextIO, path: Path, times: int) -> None:
    """Change the bundle so often, 0 for ever, and print each number; wait while the other writer has it."""
    done = 0
    if times:
        _wait(path.parent / "begin")
    while not times or done < times:
        try:
            out.write(f"{change(path)}\n")
        except BundleError as error:
            if "another process is changing it" not in str(error):
                raise
            time.sleep(random.uniform(0, 0.005))
            continue
        out.flush()
        done += 1


def read(out: TextIO, path: Path, end: Path) -> None:
    """Open the bundle again and again until a file appears; print how often, and how often it was a change's new side."""
    counts: Counter[str] = Counter()
    last = 0
    _wait(path.parent / "begin")
    while not end.exists():
        bundle = open_bundle(path, verify=counts["openings"] % 4 != 3)
        try:
            count = count_of(bundle)
        except FileNotFoundError:
            if bundle.is_current():
                raise
            continue
        if count < last:
            raise AssertionError(f"{count} after {last}")
        last = count
        counts["openings"] += 1
        counts["in a commit"] += bundle.in_commit
    out.write(f"{counts['openings']} {counts['in a commit']}\n")


def _wait(begin: Path) -> None:
    """Wait for the others, that all run at once."""
    while not begin.exists():
        time.sleep(0.001)


def start(task: Callable[..., None], *words: object) -> tuple[int, TextIO]:
    """Run a task in a process of its own; return its id and what it prints."""
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        return pid, os.fdopen(reading)
    failed = 1
    try:
        with os.fdopen(writing, "w") as out:
            task(out, *words)
        failed = 0
    except BaseException:
        traceback.print_exc()
    os._exit(failed)


def kill_one(path: Path) -> str:
    """Kill a writer at a random moment; check what it left, and that the next change is whole. Returns where it was hit."""
    pid, out = start(write, path, 0)
    with out:
        printed = int(out.readline())
        time.sleep(random.uniform(0, 0.15))
        os.kill(pid, signal.SIGKILL)
        printed = max([printed, *map(int, out.read().split())])
    os.waitpid(pid, 0)
    where = "between changes"
    if any(path.glob(".staging-*")):
        where = "while files were staged"
    elif (path / COMMIT).exists():
        where = "while files were moved" if (path / COMMIT / MANIFEST).exists() else "after the manifest was moved"
    count = count_of(open_bundle(path))
    if count_of(open_bundle(path, verify=False)) != count or count not in (printed, printed + 1):
        raise AssertionError(f"{count} after {printed} ({where})")
    if (new := change(path)) not in (printed + 1, printed + 2) or count_of(open_bundle(path)) != new:
        raise AssertionError(f"{new} after {printed} ({where})")
    if leftovers := sorted(file.name for file in path.iterdir() if file.name.startswith(".")):
        raise AssertionError(f"left: {leftovers}")
    side = "new" if count > printed else "old"
    return f"{where}: {side}"


def kills(path: Path, times: int) -> str:
    change(path)
    kinds = Counter(kill_one(path) for _ in range(times))
    return f"{times} kills, no damage: " + ", ".join(f"{count} {where}" for where, count in sorted(kinds.items()))


def interleavings(path: Path, times: int) -> str:
    change(path)
    end = path.parent / "end"
    readers, writers = [start(read, path, end) for _ in range(2)], [start(write, path, times // 2) for _ in range(2)]
    (path.parent / "begin").touch()
    failed = [os.waitpid(pid, 0)[1] for pid, _ in writers]
    end.touch()
    printed = [out.read().split() for _, out in readers]
    failed += [os.waitpid(pid, 0)[1] for pid, _ in readers]
    if any(failed) or (count := count_of(open_bundle(path))) != times // 2 * 2:
        raise AssertionError(f"exit codes {failed}, {count_of(open_bundle(path))} of {times // 2 * 2} changes")
    openings, new = (sum(int(words[place]) for words in printed) for place in (0, 1))
    return f"{count} changes by 2 writers, none lost; {openings} openings by 2 readers, {new} of them amid a commit, none failed"


def main(task: str, times: int = ROUNDS) -> None:
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        done = {"kills": kills, "interleavings": interleavings}[task](Path(folder, "m"), times)
    sys.stdout.write(f"{done}\n")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
