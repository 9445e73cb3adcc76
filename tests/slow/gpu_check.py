"""What `make gpu-check` does: check the machine, install the GPU packages that fit it, run the tests that need a GPU.

    python tests/slow/gpu_check.py machine        the driver, its CUDA and this Python; needs no package
    python tests/slow/gpu_check.py                all of it, in the environment for development, whose packages it changes

Stops at the first thing that does not fit, with one line on stderr: what was found, what was expected, the command that cures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
KEPT = ("cuda-bindings", "nvidia-ml-py")  # pip replaces them by itself: nothing else installs into their folders


def main(words: list[str]) -> int:
    """Run all steps, or only the first for `machine`. Returns the exit code of the tests."""
    if sys.version_info < (3, 11):
        stop(
            f"Python {sys.version_info[0]}.{sys.version_info[1]}; expected 3.11 to 3.13, for which onnxruntime-gpu and TensorRT "
            "have wheels: rm -r .venv && make gpu-check PYTHON=python3.12"
        )
    diagnosis = examine()
    extra = fitting_set(diagnosis)
    if words == ["machine"]:
        sys.stderr.write(f"gpu-check: vegrt[{extra}] fits driver {diagnosis['gpu']['driver'] or 'of WSL'}\n")
        return 0
    if not diagnosis["gpu_software"]["ready"]:
        install(extra)
        check_ready(examine())
    # one process: tests that measure the device's memory must not run beside others
    tests = [sys.executable, "-m", "pytest", "-n", "0", "-m", "gpu"]
    return subprocess.run(tests, cwd=ROOT, env={**os.environ, "VEGRT_REQUIRE_GPU": "1"}).returncode


def examine() -> dict[str, Any]:
    """Return `vegrt doctor` as JSON, of a new process: packages that were just installed count."""
    program = "import json; from vegrt.infer.machine.doctor import examine; print(json.dumps(examine().to_dict()))"
    paths = os.pathsep.join([str(ROOT / "src"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    if done.returncode:
        stop(f"vegrt doctor fails: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    diagnosis: dict[str, Any] = json.loads(done.stdout)
    return diagnosis


def fitting_set(diagnosis: dict[str, Any]) -> str:
    """Return the extra for this machine. Stops where there is none, or where the driver gives no GPU."""
    from vegrt.infer.machine.gpu import INSUFFICIENT_DRIVER
    from vegrt.infer.machine.gpu_sets import CUDA12, CUDA13

    gpu, software = diagnosis["gpu"], diagnosis["gpu_software"]
    if "Jetson" in diagnosis["machine"]["board"]:
        stop("this is a Jetson, whose packages come with JetPack; deploy to it: vegrt deploy jetson BUNDLE OUT")
    if (not gpu["gpus"] and gpu["error"] != INSUFFICIENT_DRIVER) or not software["extra"]:
        stop(
            advice_words(software)
            or f"no usable GPU ({gpu['problem']}); expected an NVIDIA GPU with driver {CUDA12.driver} or newer"
        )
    if software["extra"] not in (CUDA12.extra, CUDA13.extra):
        stop(
            f"Python {diagnosis['python']} on {diagnosis['machine']['architecture']}: onnxruntime-gpu or TensorRT has no wheel; "
            "expected Python 3.11 to 3.13 on x86_64: rm -r .venv && make gpu-check PYTHON=python3.12"
        )
    return str(software["extra"])


def install(extra: str) -> None:
    """Install the set. ONNX Runtime for CPUs, which the extra `export` brings, goes: it would overwrite the one for GPUs."""
    from vegrt.infer.machine.gpu_software import DISTRIBUTIONS

    pip("uninstall", "--yes", *(name for name in DISTRIBUTIONS if name not in KEPT))
    pip("install", "--editable", f".[dev,{extra}]")
    pip("uninstall", "--yes", "onnxruntime")
    pip("install", "--force-reinstall", "--no-deps", f"onnxruntime-gpu=={metadata.version('onnxruntime-gpu')}")


def check_ready(diagnosis: dict[str, Any]) -> None:
    """Stop unless driver, CUDA and packages fit and CUDA finds a GPU."""
    if not diagnosis["gpu_software"]["ready"]:
        stop(advice_words(diagnosis["gpu_software"]))


def advice_words(software: dict[str, Any]) -> str:
    """Return what is to do, as one line."""
    return "; ".join(f"{advice['reason']}: {advice['command']}" for advice in software["advice"])


def pip(*words: str) -> None:
    """Run pip. Stops where it fails."""
    if subprocess.run([sys.executable, "-m", "pip", "--quiet", *words], cwd=ROOT).returncode:
        stop(f"pip {' '.join(words)} failed, see above; TensorRT's libraries come from https://pypi.nvidia.com")


def stop(message: str) -> NoReturn:
    """End with a line on stderr."""
    sys.exit(f"gpu-check: {message}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    sys.exit(main(sys.argv[1:]))
