"""The Python packages of a deployed service: what pip installs, from where vegrt itself comes, and the versions used here."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Literal

from vegrt.errors import VegrtError
from vegrt.infer.machine.gpu_sets import CUDA13
from vegrt.version import __version__

CpuRuntime = Literal["onnxruntime", "openvino", "mnn"]
REQUIREMENTS, CONSTRAINTS = "requirements.txt", "constraints.txt"
EXTRAS: dict[CpuRuntime, str] = {"onnxruntime": "cpu", "openvino": "openvino", "mnn": "mnn"}
NOT_PUBLISHED = (
    "vegrt was not on PyPI when this was written: then the packages below can be installed only with its wheel. Make it in the\n"
    "source folder, and write this folder again:\n\n"
    "    python -m pip wheel --no-deps --wheel-dir dist .\n"
    "    vegrt deploy {target} BUNDLE OUT --wheel dist/vegrt-*.whl --overwrite"
)
_WHEEL = re.compile(r"vegrt-[^-/]+-py3-none-any\.whl")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r"""\bextra\s*==\s*["']([^"']+)["']""")


def extras_of(runtime: CpuRuntime, *, serves: bool, signed: bool) -> tuple[str, ...]:
    """Return the extras of vegrt for a service on a CPU. serves: whether it runs `vegrt serve`. signed: whether it has a key."""
    return (EXTRAS[runtime], *(["serve"] if serves else []), *(["sign"] if signed else []))


def requirements(extras: Iterable[str], wheel: Path | None, others: Iterable[str] = ()) -> str:
    """Return requirements.txt; a wheel is named relative to the folder in which pip runs."""
    names = ",".join(extras)
    own = f"./{wheel.name}[{names}]" if wheel else f"vegrt[{names}]=={__version__}"
    return "\n".join([own, *others]) + "\n"


def constraints(extras: Iterable[str]) -> str:
    """Return constraints.txt: the versions, installed here, of the packages that vegrt needs with these extras."""
    lines = [f"{name}=={version}" for name, version in sorted(installed_versions(extras).items())]
    return "\n".join(["# versions that were installed where this folder was written", *lines]) + "\n"


def gpu_packages() -> tuple[str, ...]:
    """Return the packages of the GPU set for CUDA 13 that an image with CUDA and cuDNN lacks; TensorRT is left out."""
    names = ("onnxruntime-gpu", "nvidia-ml-py")
    return tuple(str(replace(package, extras="")) for package in CUDA13.packages if package.name in names)


def installed_versions(extras: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages that vegrt with these extras needs, directly or not, as far as they are installed.

    Markers other than `extra` are ignored: a constraint on a package that is not needed has no effect.
    """
    versions: dict[str, str] = {}
    waiting = list(_needed("vegrt", frozenset(extras)))
    while waiting:
        name = waiting.pop()
        if name in versions:
            continue
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if "+" not in version:  # a build that no index has
            versions[name] = version
            waiting += _needed(name, frozenset())
    return versions


def _needed(name: str, extras: frozenset[str]) -> list[str]:
    """Return the names of the packages that a distribution needs with these extras; none if it is not installed."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    names = []
    for line in lines:
        wanted = _EXTRA.search(line)
        if (wanted is None or wanted[1] in extras) and (match := _NAME.match(line)):
            names.append(re.sub(r"[-_.]+", "-", match[0]).lower())
    return names


def check_wheel(wheel: Path | None) -> None:
    """Raise VegrtError unless it is a wheel of vegrt."""
    if wheel is not None and not (_WHEEL.fullmatch(wheel.name) and zipfile.is_zipfile(wheel)):
        raise VegrtError(
            f"--wheel {wheel}: not a wheel of vegrt; expected a file such as vegrt-{__version__}-py3-none-any.whl, made in the "
            "source folder by: python -m pip wheel --no-deps ."
        )


def copy_wheel(wheel: Path | None, folder: Path) -> None:
    """Copy a wheel to the folder, under its own name: pip reads the version from it."""
    if wheel is not None:
        shutil.copyfile(wheel, folder / wheel.name)
