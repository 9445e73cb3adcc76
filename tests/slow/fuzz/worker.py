"""Reads damaged inputs in a forked process, and watches it: it may crash, hang or take too much memory, and the run goes on."""

from __future__ import annotations

import logging
import mmap
import os
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from tests.slow.fuzz.mutate_bytes import MAX_BYTES
from tests.slow.fuzz.target import Target
from vegrt.errors import VegrtError
from vegrt.infer.serve.refusal import Refusal

BAD = ("traceback", "hang", "crash", "memory")
_HEAD = struct.Struct("<6Q")  # next index, size of the input, accepted, refused, tracebacks, 1 while an input is read
_MAX_CORPUS, _MAX_SEED_BYTES = 1500, 1 << 16
_SPARE_BYTES = 4 << 30  # address space beyond that of the parent: a guard for the machine
_POLL_S = 0.02
_IDLE = 12  # how often its limit of CPU time an input may take by the clock
_MEMORY_EXIT = 77  # of a worker that took too much memory


@dataclass(frozen=True)
class Outcome:
    """What became of an input. kind: accepted, refused or traceback. shape: equal for inputs of the same way. text: in full."""

    kind: str
    shape: str
    text: str = ""


@dataclass
class Progress:
    """The counts of one target, stored between runs. seconds: of reading and damaging."""

    done: int = 0
    accepted: int = 0
    refused: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def outcome_of(target: Target, data: bytes, folder: Path) -> Outcome:
    """Read one input. Whatever is raised is an outcome, but for a KeyboardInterrupt."""
    try:
        answer = target.run(data, folder)
    except (VegrtError, Refusal) as error:
        lines = str(error).splitlines()
        if len(lines) == 1 and len(lines[0]) < 4000:
            return Outcome("refused", f"{type(error).__name__}: {_shape(lines[0])}")
        return Outcome("traceback", f"{type(error).__name__} of {len(lines)} lines", str(error)[:2000])
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/slow/fuzz/" not in frame.filename]
        ours = [
            frame for frame in frames if "site-packages" not in frame.filename and "/lib/python" not in frame.filename
        ]
        place = next((f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(ours or frames)), "")
        return Outcome(
            "traceback", f"{type(error).__name__} at {place}", "".join(traceback.format_exception(error))[-4000:]
        )
    return Outcome("accepted", _shape(str(answer)))


def _shape(text: str) -> str:
    """Return a message without what the input decides: quoted text, numbers and paths."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|/\S+|[-+0-9.]+", "*", text)[:100]


class Work:
    """One target's part of the WORK folder: corpus, findings and counts."""

    def __init__(self, target: Target, work: Path, base: Path, kept: Path, seed: int) -> None:
        """kept: the folder of findings of earlier releases, which join the corpus."""
        self.target, self.seed = target, seed
        self.corpus_folder, self.findings_folder = work / "corpus" / target.name, work / "findings" / target.name
        for folder in (self.corpus_folder, self.findings_folder):
            folder.mkdir(parents=True, exist_ok=True)
        old = sorted((kept / target.name).glob("*")) if (kept / target.name).is_dir() else []
        self.seeds = [*target.seeds(base), *(file.read_bytes() for file in old)]
        self.shared = mmap.mmap(-1, _HEAD.size + MAX_BYTES)

    def input(self, index: int, corpus: list[bytes]) -> bytes:
        """Return the input of that number, for a corpus."""
        draws = random.Random(f"{self.seed} {index}")
        pool = self.seeds if draws.random() < 0.5 else corpus
        return self.target.mutate(draws.choice(pool), corpus, draws)[:MAX_BYTES]

    def save_finding(self, kind: str, shape: str, data: bytes, text: str) -> str:
        """Store an input, once for all that look the same; return its name."""
        name = f"{kind}-{zlib.crc32(shape.encode('utf-8', 'replace')):08x}"
        if not (self.findings_folder / name).exists():
            (self.findings_folder / name).write_bytes(data)
            (self.findings_folder / f"{name}.txt").write_text(f"{shape}\n{text}\n", encoding="utf-8", errors="replace")
        return name


def run_slice(work: Work, progress: Progress, stop: int) -> None:
    """Read the inputs from progress.done to stop, in one worker after the other."""
    started = time.monotonic()
    try:
        while progress.done < stop:
            _run_worker(work, progress, min(stop, progress.done + work.target.per_worker))
    finally:
        progress.seconds += time.monotonic() - started


def _run_worker(work: Work, progress: Progress, stop: int) -> None:
    work.shared[: _HEAD.size] = _HEAD.pack(progress.done, 0, 0, 0, 0, 0)
    # commands link files of the base, which must be on the same file system; the others do not wait for a disk
    is_in_memory = work.target.per_worker > 1 and Path("/dev/shm").is_dir()
    place = "/dev/shm" if is_in_memory else work.findings_folder.parents[1]
    with tempfile.TemporaryDirectory(prefix="job-", dir=place) as folder:
        child = os.fork()
        if child == 0:
            _be_worker(work, progress.done, stop, Path(folder))
        try:
            death = _watch(work, child)
        except BaseException:
            _kill(child)
            raise
    _take(work, progress, stop, death)


def _watch(work: Work, child: int) -> str:
    """Wait for a worker, and end it if an input takes too long. Return of which kind of finding it died; empty if of none."""
    index, since, busy_s = -1, time.monotonic(), 0.0
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        time.sleep(_POLL_S)
        now, busy = _HEAD.unpack(work.shared[: _HEAD.size])[0::5]
        if now != index or not busy:
            index, since, busy_s = now, time.monotonic(), _cpu_s(child)
        elif _cpu_s(child) - busy_s > work.target.limit_s or time.monotonic() - since > _IDLE * work.target.limit_s:
            _kill(child)
            return "hang"
    return _death(ended[1]) if ended[1] else ""


def _kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _cpu_s(process: int) -> float:
    """Return the CPU time of a process in seconds: on a busy machine the wall clock says little."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _death(status: int) -> str:
    """Return the kind of finding that a worker's exit status stands for."""
    code = os.waitstatus_to_exitcode(status)
    return (
        "memory" if code == _MEMORY_EXIT else f"crash by signal {-code}" if code < 0 else f"crash with exit code {code}"
    )


def _take(work: Work, progress: Progress, stop: int, death: str) -> None:
    """Add a worker's counts, and its last input as a finding if it died of it."""
    index, size, accepted, refused, _, _ = _HEAD.unpack(work.shared[: _HEAD.size])
    progress.done, progress.accepted, progress.refused = index, progress.accepted + accepted, progress.refused + refused
    for file in work.findings_folder.glob("*.count"):
        _count(work, progress, file.stem, int(file.read_text()))
        file.unlink()
    if death:
        data = bytes(work.shared[_HEAD.size : _HEAD.size + size])
        name = work.save_finding(death.split()[0], f"{death}: {zlib.crc32(data):08x}", data, f"input {index}")
        _count(work, progress, name, 1)
        progress.done = min(stop, index + 1)


def _count(work: Work, progress: Progress, name: str, number: int) -> None:
    """Count a finding, and show it the first time."""
    if name not in progress.findings:
        shape = (work.findings_folder / f"{name}.txt").read_text(encoding="utf-8").partition("\n")[0]
        sys.stderr.write(f"{work.target.name}: {name}: {shape}\n")
    progress.findings[name] = progress.findings.get(name, 0) + number


def _be_worker(work: Work, start: int, stop: int, folder: Path) -> None:
    """Read inputs until the end, and exit. Never returns."""
    code = 1
    try:
        code = _read_all(work, start, stop, folder)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _read_all(work: Work, start: int, stop: int, folder: Path) -> int:
    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native libraries write there
    warnings.simplefilter("ignore")
    size_pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = size_pages * mmap.PAGESIZE + _SPARE_BYTES
    if work.target.per_worker > 1:  # commands draw charts with a browser's engine, which reserves more
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = sorted(work.corpus_folder.iterdir())
    shapes, corpus = {file.name for file in files}, [*work.seeds, *(file.read_bytes() for file in files)]
    counts = {"accepted": 0, "refused": 0, "traceback": 0}
    found: dict[str, int] = {}
    if work.target.per_worker > 1:
        outcome_of(work.target, work.seeds[0], folder)  # imports what it needs, which counts for no input
    for index in range(start, stop):
        data = work.input(index, corpus)
        work.shared[_HEAD.size : _HEAD.size + len(data)] = data
        work.shared[: _HEAD.size] = _HEAD.pack(index, len(data), *counts.values(), 1)
        outcome = outcome_of(work.target, data, folder)
        counts[outcome.kind] += 1
        work.shared[: _HEAD.size] = _HEAD.pack(index + 1, len(data), *counts.values(), 0)
        if outcome.kind == "traceback":
            name = work.save_finding("traceback", outcome.shape, data, outcome.text)
            found[name] = found.get(name, 0) + 1
            (work.findings_folder / f"{name}.count").write_text(str(found[name]))
        shape = f"{zlib.crc32(outcome.shape.encode('utf-8', 'replace')):08x}"
        if shape not in shapes and len(shapes) < _MAX_CORPUS and len(data) <= _MAX_SEED_BYTES:
            shapes.add(shape)
            corpus.append(data)
            (work.corpus_folder / shape).write_bytes(data)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > work.target.limit_mib << 10:
            work.shared[: _HEAD.size] = _HEAD.pack(index, len(data), *counts.values(), 0)
            return _MEMORY_EXIT
    return 0
