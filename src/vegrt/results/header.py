"""The header of result files: time, machine, package versions and bundle of a measurement."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from vegrt.bundle.bundle import Bundle
from vegrt.machine import examine_machine
from vegrt.results.common import BundleName, MachineRecord
from vegrt.version import __version__

SCHEMA_VERSION = 2
RUNTIME_PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "MNN",
    "tensorrt",
    "tensorrt-cu12",
    "tensorrt-cu13",
    "torch",
)
_PACKAGES = ("numpy", "pillow", *RUNTIME_PACKAGES)


def header_fields(bundle: Bundle, kind: str, *, gpu: str | None = None) -> dict[str, Any]:
    """Return the fields of `Result` for a result of this kind, measured now on this machine. gpu: name of the GPU that ran."""
    return {
        "schema": f"vegrt-{kind}",
        "schema_version": SCHEMA_VERSION,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "bundle": BundleName(bundle.manifest.name, bundle.sha256()),
        "machine": replace(this_machine(), gpu=gpu),
        "versions": installed_versions(),
    }


def this_machine() -> MachineRecord:
    """Return the processor, the cores that this process may use, and the platform."""
    machine = examine_machine()
    return MachineRecord(machine.cpu.model, machine.cores, platform.platform(terse=True))


def installed_versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of vegrt, Python and `packages`, without those that are not installed."""
    from importlib.metadata import PackageNotFoundError, version  # 12 ms, and results are read more often than written

    versions = {"vegrt": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
