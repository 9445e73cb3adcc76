"""The first step of `make gpu-check`, which decides whether anything is installed, on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from vegrt.infer.machine.gpu import probe_gpus

SCRIPT = Path(__file__).parents[2] / "slow/gpu_check.py"


def test_it_needs_no_package_and_stops_with_one_line_without_a_gpu() -> None:
    command = [sys.executable, "-S", str(SCRIPT), "machine"]  # -S: without site-packages
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpu-check: ")
    if probe_gpus().gpus:
        assert (done.returncode, line.partition(" fits driver ")[0]) in [
            (0, f"gpu-check: vegrt[{extra}]") for extra in ("gpu-cuda12", "gpu-cuda13")
        ]
    else:
        assert done.returncode == 1
        assert "; expected " in line or ": docker run --gpus all " in line
