"""ONNX Runtime's plug-in providers: execution providers in packages of their own, and the devices that they offer here.

A package states the path of its library and the name of its provider, as
onnxruntime.ai/docs/execution-providers/plugin-ep-libraries/packaging.html asks
for. Its Python module is `onnxruntime_ep_NAME`, or `onnxruntime_NAME` as Qualcomm's.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from vegrt.errors import MissingExtraError, VegrtError

SINCE = (1, 24)  # of ONNX Runtime: it reports which provider got which node
_PREFIX = "onnxruntime-ep-"
_OTHERS = {"onnxruntime-qnn": "qnn"}
_PROGRAM = "import sys; from vegrt.infer.machine.provider_plugins import print_devices; print_devices(sys.argv[1])"
_TIMEOUT_S = 60
_registered: dict[str, str] = {}  # name -> provider; ONNX Runtime refuses the second registration of a process


@dataclass(frozen=True, slots=True)
class PluginPackage:
    """An installed package of a plug-in provider. name: as in `--provider`, such as openvino."""

    name: str
    module: str
    version: str


@dataclass(frozen=True, slots=True)
class PluginDevice:
    """A device that a provider offers. hardware: cpu, gpu or npu. vendor: of the device."""

    hardware: str
    vendor: str


@dataclass(frozen=True, slots=True)
class PluginState:
    """A package and what it offers here. problem: why its library does not load; empty if it does."""

    package: PluginPackage
    devices: tuple[PluginDevice, ...]
    problem: str = ""


def installed_plugins() -> dict[str, PluginPackage]:
    """Return the installed packages by name. No library is loaded."""
    packages = {}
    for distribution in metadata.distributions():
        full = (distribution.name or "").lower().replace("_", "-")
        name = full.removeprefix(_PREFIX) if full.startswith(_PREFIX) else _OTHERS.get(full, "")
        name = re.sub(r"-cu\d+$", "", name)  # NVIDIA's packages for CUDA 12 and 13 have the same module
        if name and (module := next(filter(find_spec, _modules(name)), "")):
            packages[name] = PluginPackage(name, module, distribution.version)
    return packages


def find_plugin(name: str) -> PluginPackage:
    """Return an installed package. Raises MissingExtraError, with what is installed, if it is not."""
    packages = installed_plugins()
    if name in packages:
        return packages[name]
    installed = f"installed: {', '.join(sorted(packages))}" if packages else "no plug-in provider is installed"
    package = next((full for full, short in _OTHERS.items() if short == name), f"{_PREFIX}{name}")
    raise MissingExtraError(f"provider {name!r}: no such package ({installed}); pip install {package}")


def register(ort: Any, package: PluginPackage) -> str:
    """Load a provider's library into this process, once, and return the provider's name.

    Raises MissingExtraError for an ONNX Runtime without plug-in providers, VegrtError for a library that does not load.
    """
    if package.name in _registered:
        return _registered[package.name]
    if not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
        wanted = ".".join(map(str, SINCE))
        raise MissingExtraError(
            f"onnxruntime {ort.__version__}: plug-in providers need {wanted}; pip install 'onnxruntime>={wanted}'"
        )
    try:
        module = importlib.import_module(package.module)
        provider = str(module.get_ep_name())
        # Some libraries name their provider as they are registered (Qualcomm's), others by themselves (Intel's).
        ort.register_execution_provider_library(provider, str(module.get_library_path()))
    except Exception as error:  # whatever the vendor's module or ONNX Runtime's exceptions without a base class are
        reason = " ".join(str(error).split())
        raise VegrtError(
            f"provider {package.name!r}: {package.module} {package.version} does not load ({reason:.300}); see: vegrt doctor"
        ) from error
    _registered[package.name] = provider
    return provider


def devices_of(ort: Any, provider: str) -> list[tuple[PluginDevice, Any]]:
    """Return the devices of a registered provider, each with ONNX Runtime's own object."""
    return [
        (PluginDevice(device.device.type.name.lower(), device.device.vendor), device)
        for device in ort.get_ep_devices()
        if device.ep_name == provider
    ]


def examine_plugins(packages: Sequence[PluginPackage]) -> tuple[PluginState, ...]:
    """Return what packages offer here. Each is loaded in a process of its own, because it may crash that."""
    return tuple(_examine(package) for package in packages)


def print_devices(name: str) -> None:
    """Print a JSON array of the devices of a package. For a process of its own."""
    ort = importlib.import_module("onnxruntime")
    try:
        found = devices_of(ort, register(ort, find_plugin(name)))
        answer: dict[str, Any] = {"devices": [[device.hardware, device.vendor] for device, _ in found]}
    except VegrtError as error:
        answer = {"problem": str(error)}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


def _examine(package: PluginPackage) -> PluginState:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, package.name], capture_output=True, text=True, timeout=_TIMEOUT_S
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    except (OSError, subprocess.TimeoutExpired) as error:
        return PluginState(package, (), str(error))
    if not lines:
        return PluginState(package, (), f"its process ended with exit code {done.returncode}")
    answer = json.loads(lines[-1])
    devices = tuple(PluginDevice(*device) for device in answer.get("devices", ()))
    return PluginState(package, devices, answer.get("problem", ""))


def _modules(name: str) -> tuple[str, ...]:
    plain = name.replace("-", "_")
    return (f"onnxruntime_ep_{plain}", f"onnxruntime_{plain}")
