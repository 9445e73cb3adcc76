"""Setup that all benchmarks share: their conditions, and opening and warming up the candidates."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.cases import TimedRunner
from vegrt.evaluate.benchmark.inputs import Inputs
from vegrt.infer.runtimes.candidates import Candidate, nothing_runs
from vegrt.infer.runtimes.host import package_of
from vegrt.infer.runtimes.open import open_candidate
from vegrt.machine import available_cores
from vegrt.terminal.progress import track

log = logging.getLogger(__name__)

WARM_UP = 3
LONG_S = 1.0
NAP_S, NAPS = 0.01, 50
LARGEST_BATCH = 4096  # 600 MB of 224x224 images; a larger size is probably a typing error


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions under which all candidates are timed.

    threads: 0 for all cores that this process may use. data: photos to use, see `gather_inputs`. memory: whether to measure each
    candidate's peak memory in a separate process. limits: whether to measure what the CPU can multiply. gpu_required: whether a
    candidate on a GPU that cannot be loaded ends the benchmark; else it is left out.
    """

    threads: int = 0
    data: Path | None = None
    memory: bool = True
    limits: bool = True
    gpu_required: bool = True

    @property
    def thread_count(self) -> int:
        """Return the number of threads."""
        return self.threads or available_cores()


@dataclass(frozen=True, slots=True)
class OpenedCandidate:
    """A candidate that is ready to be timed. load_s: seconds from files in the page cache to a runner."""

    runner: TimedRunner
    load_s: float


def check_request(bundle: Bundle, chosen: list[Candidate], batch_sizes: tuple[int, ...]) -> None:
    """Raise VegrtError if there is no candidate, or if a batch size is out of range."""
    if not chosen:
        raise nothing_runs(bundle)
    if not batch_sizes or not all(1 <= batch <= LARGEST_BATCH for batch in batch_sizes):
        shown = ", ".join(map(str, batch_sizes))
        raise VegrtError(f"batch sizes {shown or '(none)'}; expected numbers from 1 to {LARGEST_BATCH}, such as 1,4,16")


def open_all(
    bundle: Bundle, chosen: list[Candidate], inputs: Inputs, conditions: Conditions, largest_batch: int
) -> dict[Candidate, OpenedCandidate]:
    """Open every candidate and time its loading. Raises VegrtError when none can be loaded.

    The runtime's library is imported before the timing; its first candidate's time still includes what it loads lazily.
    """
    opened = {}
    for candidate in track(chosen, "Loading"):
        with suppress(ImportError):  # open_candidate reports what is missing
            importlib.import_module(package_of(candidate.runtime))
        start = time.perf_counter()
        try:
            runner = open_candidate(bundle, candidate, threads=conditions.threads)
        except VegrtError as error:
            if conditions.gpu_required or candidate.device == "cpu":
                raise
            log.warning("%s cannot be loaded here and is not timed (%s)", candidate, error)
            continue
        load_s = time.perf_counter() - start
        timed_runner = TimedRunner(runner, inputs, len(bundle.manifest.classes), largest_batch)
        opened[candidate] = OpenedCandidate(timed_runner, load_s)
    if not opened:
        raise nothing_runs(bundle)
    return opened


def warm_up_runner(runner: TimedRunner, batch: int) -> float:
    """Run a batch WARM_UP times, or fewer if the runs have taken LONG_S; return the seconds of the fastest run."""
    runner.prepare(batch)
    runs_s = [runner.alone(batch).run_s]
    while len(runs_s) < WARM_UP and sum(runs_s) < LONG_S:
        runs_s.append(runner.alone(batch).run_s)
    return min(runs_s)


def wait_idle(cpu_s: Callable[[], float] = time.process_time, nap: Callable[[float], None] = time.sleep) -> None:
    """Wait until the threads of this process are asleep, but for NAPS pauses at most.

    The threads of ONNX Runtime spin after a run, waiting for the next one: 46 ms of CPU time on two cores (1.32), which would
    slow down the next candidate.
    """
    for _ in range(NAPS):
        before = cpu_s()
        nap(NAP_S)
        if cpu_s() - before < NAP_S / 10:
            return
