"""Peak memory of a candidate, measured in a separate process so that the candidates' memory does not add up.

The process is `python -m vegrt.evaluate.benchmark.memory BUNDLE VARIANT RUNTIME DEVICE ENGINE THREADS BATCH`; it prints its peak
in KiB.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.runner import Device

log = logging.getLogger(__name__)

_STATUS = Path("/proc/self/status")
TIMEOUT_S = 600.0


def peak_rss_mib(
    bundle: Bundle, candidate: Candidate, *, threads: int, batch: int, timeout_s: float = TIMEOUT_S
) -> float | None:
    """Return the peak resident memory in MiB of a process that loads a candidate and runs two batches.

    Includes the interpreter and the runtime's libraries, but not GPU memory. Returns None, with a warning, on failure.
    """
    arguments = [
        str(bundle.path),
        candidate.variant,
        candidate.runtime,
        candidate.device,
        candidate.engine,
        str(threads),
        str(batch),
    ]
    command = [sys.executable, "-m", "vegrt.evaluate.benchmark.memory", *arguments]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout_s)
        return int(process.stdout) / 1024
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1:] or [f"exit {error.returncode}"]
        log.warning("%s: peak memory not measured (%s)", candidate, reason[0])
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        log.warning("%s: peak memory not measured (%s)", candidate, error)
    return None


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
    from vegrt.infer.runtimes.candidates import find_runtime
    from vegrt.infer.runtimes.open import open_candidate

    opened = open_bundle(Path(bundle), verify=False)
    candidate = Candidate(variant, find_runtime(runtime), device, engine)
    runner = open_candidate(opened, candidate, threads=int(threads))
    shape = opened.manifest.contract.shape
    for _ in range(2):
        runner.logits(np.zeros((int(batch), *shape), np.uint8))
    sys.stdout.write(f"{parse_peak_kib(_STATUS.read_text(encoding='utf-8'))}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])  # type: ignore[arg-type]  # the only caller passes a Device
