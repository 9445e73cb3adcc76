"""The converter of MNN's package, which writes a float32 ONNX graph in MNN's own format."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from vegrt.errors import ModelError, require

_TIMEOUT_S = 600
# The converter itself: the package's program `mnnconvert` also installs an upload client with pip and reports each conversion.
_CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"


def convert_to_mnn(source: bytes, folder: Path) -> Path:
    """Write an ONNX graph in MNN's format into a folder and return the file.

    The converter runs in a process of its own: it prints to stdout, ends with 0 whatever happened, and may crash on a graph.
    Raises ModelError when it fails, MissingExtraError without MNN.
    """
    require("MNN", "mnn")
    model, target = folder / "fp32.onnx", folder / "fp32.mnn"
    model.write_bytes(source)
    words = ["-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(target), "--bizCode", "vegrt"]
    command = [sys.executable, "-c", _CONVERT, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"fp32.mnn: MNN's converter did not finish within {_TIMEOUT_S} s") from error
    if target.is_file() and "Error" not in done.stdout + done.stderr:
        return target
    raise ModelError(f"fp32.mnn: MNN cannot convert fp32.onnx ({_reason(done)})")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return the converter's first line about an error; its last line if no line mentions one."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "failed" in line.lower()]
    return f"{(errors or lines[-1:] or [f'exit status {done.returncode}'])[0]:.300}"
