"""A candidate in a new process of its own: its peak memory, which would add up in one process, and the time to its first answer.

The process is `python -m vegrt.evaluate.benchmark.process BUNDLE VARIANT RUNTIME DEVICE ENGINE THREADS BATCH`; it prints JSON.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.runner import Device

log = logging.getLogger(__name__)

_STATUS = Path("/proc/self/status")
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """What a process measured of itself; None: not measured.

    peak_rss_mib: peak resident memory in MiB, with the interpreter and the runtime's libraries, without GPU memory.
    first_answer_s: seconds from importing the runtime's library to the logits of one image.
    """

    peak_rss_mib: float | None = None
    first_answer_s: float | None = None


def run_process(
    bundle: Bundle, candidate: Candidate, *, threads: int, batch: int, timeout_s: float = TIMEOUT_S
) -> ProcessFigures:
    """Return the figures of a process that loads a candidate, runs one image and then two batches.

    batch: 0 for the first answer alone; the peak memory is None then. All figures are None, with a warning, on failure.
    """
    arguments = [
        str(bundle.path),
        candidate.variant,
        candidate.runtime_name,
        candidate.device,
        candidate.engine,
        str(threads),
        str(batch),
    ]
    command = [sys.executable, "-m", "vegrt.evaluate.benchmark.process", *arguments]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout_s)
        figures = json.loads(process.stdout.splitlines()[-1])  # MNN prints lines of its own
        peak_mib = figures["peak_kib"] / 1024 if batch and figures["peak_kib"] else None
        return ProcessFigures(peak_mib, figures["first_answer_s"])
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1:] or [f"exit {error.returncode}"]
        log.warning("%s: peak memory and first answer not measured (%s)", candidate, reason[0])
    except (OSError, ValueError, LookupError, subprocess.TimeoutExpired) as error:
        log.warning("%s: peak memory and first answer not measured (%s)", candidate, error)
    return ProcessFigures()


def parse_peak_kib(status: str) -> int:
    """Return VmHWM in KiB from the text of /proc/<pid>/status. Raises ValueError when it is missing.

    Not getrusage: on Linux, ru_maxrss survives exec, so a child would inherit the peak of its parent process.
    """
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise ValueError("no VmHWM in /proc/self/status")


def _main(bundle: str, variant: str, runtime: str, device: Device, engine: str, threads: str, batch: str) -> None:
    import numpy as np

    from vegrt.bundle.bundle import open_bundle
    from vegrt.infer.runtimes.candidates import find_runtime, split_runtime
    from vegrt.infer.runtimes.open import open_candidate

    opened = open_bundle(Path(bundle), verify=False)
    name, provider = split_runtime(runtime)
    candidate = Candidate(variant, find_runtime(name), device, engine, provider)
    shape = opened.manifest.contract.shape
    start = time.perf_counter()
    runner = open_candidate(opened, candidate, threads=int(threads))
    runner.logits(np.zeros((1, *shape), np.uint8))
    first_answer_s = time.perf_counter() - start
    for _ in range(2 if int(batch) else 0):
        runner.logits(np.zeros((int(batch), *shape), np.uint8))
    peak_kib = parse_peak_kib(_STATUS.read_text(encoding="utf-8")) if _STATUS.exists() else None  # None beyond Linux
    sys.stdout.write(json.dumps({"peak_kib": peak_kib, "first_answer_s": first_answer_s}) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])  # type: ignore[arg-type]  # the only caller passes a Device
