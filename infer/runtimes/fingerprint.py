"""Compare the TensorRT and GPU that an engine was built for with those of this machine; needs neither of them.

The rules are those of NVIDIA's support matrix and its page on engine compatibility (TensorRT 10.16 to 11.4).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

from vegrt.machine import examine_machine

AMPERE = 80  # hardware-compatible engines run on this compute capability and later
_JETPACK = "jetpack"
_ACROSS_MAJORS = {
    (10, 11)
}  # a version-compatible engine of the first runs on the second; of 8, which also has one, none is built


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The facts that decide whether an engine can be opened.

    builder: tensorrt or tensorrt_rtx. version: of the builder. target: sm87, or sm80plus. device: the GPU's name, or empty.
    platform: operating system and processor, see `this_platform`; empty if unknown. version_compatible, hardware_compatible:
    how the engine was built; they widen what it fits.
    """

    builder: str
    version: str
    target: str
    device: str = ""
    platform: str = ""
    version_compatible: bool = False
    hardware_compatible: bool = False

    @classmethod
    def from_details(cls, details: Mapping[str, Any]) -> Fingerprint:
        """Return the fingerprint in a manifest's details of an engine; bundles before it was complete lack some of it."""
        return cls(**{key: details[key] for key in cls.__slots__ if key in details})

    def to_dict(self) -> dict[str, Any]:
        """Return the fingerprint as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        """Return it in words: `NVIDIA Thor (sm101), tensorrt 11.4.0`."""
        device = f"{self.device} ({self.target})" if self.device else self.target
        return f"{device}, {self.builder} {self.version}"


def this_platform() -> str:
    """Return this machine's operating system and processor, as linux-x86_64, linux-aarch64 or, on a Jetson, jetpack-aarch64.

    A Jetson's TensorRT is another build than that for servers with ARM processors.
    """
    system = _JETPACK if "Jetson" in examine_machine().board else platform.system().lower()
    return f"{system}-{platform.machine().lower().replace('amd64', 'x86_64')}"


def mismatches(built: Fingerprint, here: Fingerprint) -> list[str]:
    """Return the reasons why an engine does not fit this machine; empty if it fits.

    The same compute capability under another name fits: TensorRT only warns then.
    """
    reasons = []
    if built.builder != here.builder:
        reasons.append(f"built by {built.builder}, this is {here.builder}")
    elif built.version != here.version and not (built.version_compatible and _runs_older(built.version, here.version)):
        reasons.append(f"built by {built.builder} {built.version}, this is {here.version}")
    if built.platform and here.platform and built.platform != here.platform:
        reasons.append(f"built on {built.platform}, this is {here.platform}")
    if built.target != here.target and not _covers(built, here):
        reasons.append(f"built for {_target(built)}, this is {_target(here)}")
    return reasons


def _runs_older(built: str, here: str) -> bool:
    """Return whether a runtime of version `here` runs a version-compatible engine of version `built`: of an older one only."""
    old, new = _numbers(built), _numbers(here)
    return bool(old and new) and old <= new and (old[0] == new[0] or (old[0], new[0]) in _ACROSS_MAJORS)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, as (10, 13, 3, 9) of 10.13.3.9.post1."""
    return tuple(int(number) for number in takewhile(str.isdecimal, version.split(".")))


def allows_hardware_compatibility(machine: str) -> bool:
    """Return whether TensorRT supports hardware-compatible engines on a platform: not with JetPack."""
    return not machine.startswith(f"{_JETPACK}-")


def _covers(built: Fingerprint, here: Fingerprint) -> bool:
    number = here.target.removeprefix("sm")
    ampere_on = built.hardware_compatible or built.target == f"sm{AMPERE}plus"
    return ampere_on and allows_hardware_compatibility(here.platform) and number.isdigit() and int(number) >= AMPERE


def _target(fingerprint: Fingerprint) -> str:
    target = fingerprint.target.upper()
    return f"{fingerprint.device} ({target})" if fingerprint.device else target
