"""Compare the TensorRT and GPU that an engine was built for with those of this machine; needs neither of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

AMPERE = 80  # hardware-compatible engines run on this compute capability and later


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The facts that decide whether an engine can be opened.

    builder: tensorrt or tensorrt_rtx. version: of the builder. target: sm87, or sm80plus. device: the GPU's name, or empty.
    version_compatible, hardware_compatible: how the engine was built; they widen what it fits.
    """

    builder: str
    version: str
    target: str
    device: str = ""
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


def mismatches(built: Fingerprint, here: Fingerprint) -> list[str]:
    """Return the reasons why an engine does not fit this machine; empty if it fits.

    The same compute capability under another name fits: TensorRT only warns then.
    """
    reasons = []
    if built.builder != here.builder:
        reasons.append(f"built by {built.builder}, this is {here.builder}")
    elif built.version != here.version and not (built.version_compatible and _major(built) == _major(here)):
        reasons.append(f"built by {built.builder} {built.version}, this is {here.version}")
    if built.target != here.target and not _covers(built, here):
        reasons.append(f"built for {_target(built)}, this is {_target(here)}")
    return reasons


def _covers(built: Fingerprint, here: Fingerprint) -> bool:
    number = here.target.removeprefix("sm")
    ampere_on = built.hardware_compatible or built.target == f"sm{AMPERE}plus"
    return ampere_on and number.isdigit() and int(number) >= AMPERE


def _major(fingerprint: Fingerprint) -> str:
    return fingerprint.version.partition(".")[0]


def _target(fingerprint: Fingerprint) -> str:
    target = fingerprint.target.upper()
    return f"{fingerprint.device} ({target})" if fingerprint.device else target
