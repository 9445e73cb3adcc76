"""What pip resolves for each set of GPU packages, as Markdown. Nothing is installed; a few minutes of metadata.

    python tests/slow/gpu_sets.py [PYTHON...]        interpreters to resolve for; this one without any

TensorRT's libraries come from NVIDIA's index only. Where it is not reached, they are reported as not resolved, and the rest of
the set is resolved without them. The rows `with training` add torch, which has to use the same CUDA.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from vegrt.infer.machine.gpu_sets import CUDA12, CUDA13, SETS, GpuSet

TRAINING = ("torch>=2.9", "torchvision>=0.24")
SHOWN = (
    "onnxruntime-gpu",
    "cuda-bindings",
    "nvidia-ml-py",
    "torch",
    "nvidia-cudnn",
    "nvidia-cuda-runtime",
    "nvidia-cublas",
)


@dataclass(frozen=True, slots=True)
class Resolution:
    """Versions by name; or the reason why pip found none."""

    versions: dict[str, str]
    problem: str = ""


def main(pythons: list[str]) -> int:
    """Print one table. Returns 1 if a set without TensorRT did not resolve for a Python that it claims to cover."""
    failed = 0
    sys.stdout.write("| set | Python | resolved | TensorRT |\n|---|---|---|---|\n")
    for python in pythons or [sys.executable]:
        number = version_of(python)
        for gpu_set in SETS:
            if not gpu_set.pythons[0] <= number <= gpu_set.pythons[1]:
                continue
            requirements = [str(package) for package in gpu_set.packages if not package.name.startswith("tensorrt")]
            tensorrt = resolve_tensorrt(python, gpu_set)
            rows = {gpu_set.extra: requirements}
            if gpu_set in (CUDA12, CUDA13):
                rows[f"{gpu_set.extra}, with training"] = [*requirements, *TRAINING]
            for title, wanted in rows.items():
                resolution = resolve(python, wanted)
                failed += bool(resolution.problem)
                words = resolution.problem or ", ".join(shown(resolution))
                sys.stdout.write(f"| {title} | {number[0]}.{number[1]} | {words} | {tensorrt} |\n")
                sys.stdout.flush()
    return 1 if failed else 0


def shown(resolution: Resolution) -> list[str]:
    """Return the versions that matter: names with and without their CUDA suffix."""
    return [
        f"{name} {version}"
        for name, version in sorted(resolution.versions.items())
        if name.removesuffix("-cu12").removesuffix("-cu13") in SHOWN
    ]


def resolve_tensorrt(python: str, gpu_set: GpuSet) -> str:
    """Return the version of the set's TensorRT, and whether its bindings (on PyPI) and its libraries (NVIDIA's index) resolve."""
    (package,) = (package for package in gpu_set.packages if package.name.startswith("tensorrt"))
    chosen = resolve(python, [str(package)], "--no-deps", binary=False)
    if chosen.problem:
        return chosen.problem
    version = chosen.versions[package.name]
    parts = {
        part: resolve(python, [f"{package.name}-{part}=={version}"], "--no-deps", binary=False)
        for part in ("bindings", "libs")
    }
    states = [f"{part} {'not resolved' if resolution.problem else 'ok'}" for part, resolution in parts.items()]
    return f"{version}: {', '.join(states)}"


def resolve(python: str, requirements: list[str], *options: str, binary: bool = True) -> Resolution:
    """Return what pip would install into an empty environment of that Python. binary: only from wheels."""
    words = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", *options]
    only = ["--only-binary=:all:"] if binary else []
    command = [sys.executable, "-m", "pip", "--python", python, *words, *only, *requirements]
    environment = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    environment["PIP_CONFIG_FILE"] = os.devnull  # what this machine prefers is of no interest
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        return Resolution({}, (errors or done.stderr.splitlines() or ["no message"])[-1])
    installs: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    metadata = [each["metadata"] for each in installs]
    return Resolution({each["name"].lower().replace("_", "-"): each["version"] for each in metadata})


def version_of(python: str) -> tuple[int, int]:
    """Return the version of an interpreter."""
    program = "import sys; print(*sys.version_info[:2])"
    major, minor = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    return int(major), int(minor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
