"""The sets of GPU packages: equal to the extras of pyproject.toml, and chosen by driver, Python and processor."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from vegrt.infer.machine.gpu_sets import CUDA12, CUDA13, ENGINES, SETS, GpuSet, Package, version_numbers

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXTRAS = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]


@pytest.mark.parametrize("gpu_set", SETS, ids=lambda gpu_set: gpu_set.extra)
def test_a_set_is_the_extra_of_its_name(gpu_set: GpuSet) -> None:
    wanted = {Requirement(str(package)) for package in gpu_set.packages}
    assert {Requirement(line) for line in EXTRAS[gpu_set.extra]} == wanted


def test_the_extra_gpu_is_the_newest_set_that_a_python_can_install() -> None:
    requirements = [Requirement(line) for line in EXTRAS["gpu"]]
    for python, gpu_set in (("3.10", CUDA12), ("3.11", CUDA13), ("3.13", CUDA13)):
        chosen = [
            each for each in requirements if each.marker is None or each.marker.evaluate({"python_version": python})
        ]
        assert [(each.name, each.extras) for each in chosen] == [("vegrt", {gpu_set.extra})]


def test_ranges_agree_with_packaging() -> None:
    versions = ("1.23.1", "1.23.2", "1.26.0", "1.27", "1.27.0", "1.30", "10.14.1.48.post1", "12.9.1", "13.0.3", "14.0")
    for package in (each for gpu_set in SETS for each in gpu_set.packages):
        specifier = Requirement(str(package)).specifier
        assert [package.accepts(version) for version in versions] == [
            specifier.contains(version) for version in versions
        ]


def test_version_numbers() -> None:
    assert version_numbers("10.14.1.48.post1") == (10, 14, 1, 48)
    assert version_numbers("12.0") == version_numbers("12") == (12,)
    assert version_numbers("") == version_numbers("unknown") == (0,)
    assert not Package("x", "1.27").accepts("1.26.9")


@pytest.mark.parametrize(
    ("driver", "cuda", "fitting"),
    [
        ("470.256.02", "11.4", []),
        ("515.105.01", "", []),
        ("525.147.05", "12.0", [CUDA12]),
        ("550.54.15", "12.4", [CUDA12]),
        ("550.54.15", "", [CUDA12]),
        ("535.288.01", "13.0", [CUDA13, CUDA12, ENGINES]),  # with cuda-compat
        ("580.65.06", "", [CUDA13, CUDA12, ENGINES]),
        ("615.61", "13.4", [CUDA13, CUDA12, ENGINES]),
        ("", "13.0", [CUDA13, CUDA12, ENGINES]),  # WSL
        ("", "", []),
    ],
)
def test_a_driver_runs_the_sets_of_its_cuda_and_older(driver: str, cuda: str, fitting: list[GpuSet]) -> None:
    assert [gpu_set for gpu_set in SETS if gpu_set.fits_driver(driver, cuda)] == fitting


@pytest.mark.parametrize(
    ("python", "architecture", "installable"),
    [
        ((3, 9), "x86_64", []),
        ((3, 10), "x86_64", [CUDA12, ENGINES]),
        ((3, 13), "x86_64", [CUDA13, CUDA12, ENGINES]),
        ((3, 14), "x86_64", [ENGINES]),
        ((3, 12), "aarch64", [ENGINES]),
    ],
)
def test_wheels_exist_for_some_pythons_and_processors(
    python: tuple[int, int], architecture: str, installable: list[GpuSet]
) -> None:
    assert [gpu_set for gpu_set in SETS if gpu_set.has_wheels(python, architecture)] == installable
