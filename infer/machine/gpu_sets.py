"""The sets of GPU packages that belong together, and which of them a driver, a Python and a processor can run.

They are extras of pyproject.toml; a test keeps both equal. What pip resolved for each is in docs/gpu.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Python = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Package:
    """The versions of a distribution that a set accepts. extras: of that distribution. below: the first that is too new."""

    name: str
    lowest: str
    below: str = ""
    extras: str = ""

    def accepts(self, version: str) -> bool:
        """Return whether a version is in the range. What follows its numbers (.post1, rc1) is ignored."""
        numbers = version_numbers(version)
        return version_numbers(self.lowest) <= numbers and (not self.below or numbers < version_numbers(self.below))

    def __str__(self) -> str:
        """Return the requirement as pip takes it: `onnxruntime-gpu[cuda,cudnn]>=1.28,<1.32`."""
        extras = f"[{self.extras}]" if self.extras else ""
        return f"{self.name}{extras}>={self.lowest}" + (f",<{self.below}" if self.below else "")


@dataclass(frozen=True, slots=True)
class GpuSet:
    """Packages for one CUDA version.

    extra: its name in `pip install 'vegrt[extra]'`. cuda: the major version. driver: the oldest branch on Linux (CUDA Toolkit
    release notes, table 2). tensorrt_driver: the oldest branch that TensorRT's wheels support (its installation guide,
    prerequisites). pythons, architectures: the oldest and the newest Python, and the processors, that all its wheels cover.
    """

    extra: str
    cuda: int
    driver: int
    tensorrt_driver: int
    pythons: tuple[Python, Python]
    packages: tuple[Package, ...]
    architectures: tuple[str, ...] = ("x86_64",)

    def names(self) -> tuple[str, ...]:
        """Return the names of its distributions."""
        return tuple(package.name for package in self.packages)

    def fits_driver(self, driver: str, cuda: str) -> bool:
        """Return whether it runs, by the newest CUDA that the driver supports or, if that is unknown, by the driver's branch."""
        return version_numbers(cuda)[0] >= self.cuda if cuda else driver_branch(driver) >= self.driver

    def has_wheels(self, python: Python, architecture: str) -> bool:
        """Return whether all its packages can be installed."""
        return self.pythons[0] <= python <= self.pythons[1] and architecture in self.architectures


# onnxruntime-gpu: 1.27 is the first for CUDA 13, but asks for names that PyPI does not have (nvidia-cufft-cu13~=12.0).
# TensorRT: ONNX Runtime's provider links libnvinfer.so.10, up to 1.31 (readelf; onnxruntime #32278), so not TensorRT 11.
# cuda-bindings before 12.9.1 hold Python's lock during every call, cudaStreamSynchronize included.
CUDA12 = GpuSet(
    extra="gpu-cuda12",
    cuda=12,
    driver=525,
    tensorrt_driver=535,
    pythons=((3, 10), (3, 13)),
    packages=(
        Package("onnxruntime-gpu", "1.23.2", "1.27", "cuda,cudnn"),
        Package("tensorrt-cu12", "10.4", "11"),
        Package("cuda-bindings", "12.9.1", "13"),
        Package("nvidia-ml-py", "12.535"),
    ),
)
CUDA13 = GpuSet(
    extra="gpu-cuda13",
    cuda=13,
    driver=580,
    tensorrt_driver=580,
    pythons=((3, 11), (3, 13)),
    packages=(
        Package("onnxruntime-gpu", "1.28", "1.32", "cuda,cudnn"),
        Package("tensorrt-cu13", "10.13.2", "11"),
        Package("cuda-bindings", "13.0.3", "14"),
        Package("nvidia-ml-py", "12.535"),
    ),
)
ENGINES = GpuSet(  # without ONNX Runtime: TensorRT 11, Python 3.14, and ARM servers, for which it has no GPU wheel
    extra="tensorrt",
    cuda=13,
    driver=580,
    tensorrt_driver=580,
    pythons=((3, 10), (3, 14)),
    packages=(
        Package("tensorrt-cu13", "10.13.2", "12"),
        Package("cuda-bindings", "13.0.3", "14"),
        Package("nvidia-ml-py", "12.535"),
    ),
    architectures=("x86_64", "aarch64"),
)
SETS = (CUDA13, CUDA12, ENGINES)  # the preferred first


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (10, 14, 1, 48) for 10.14.1.48.post1. Zeros at the end do not count."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(number) for number in match.group().split(".")] if match else []
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers or [0])


def driver_branch(driver: str) -> int:
    """Return a driver's branch: 550 for 550.54.15; 0 when it is unknown."""
    return version_numbers(driver)[0]
