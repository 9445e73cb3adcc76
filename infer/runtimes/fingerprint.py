"""What a TensorRT engine was built for, and what is there now: compared in words, without TensorRT or a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

AMPERE = 80  # hardware-compatible engines run on this compute capability and later


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What decides whether an engine can be opened.

    builder: tensorrt or tensorrt_rtx. version: its. target: sm87, or sm80plus. device: the GPU's name, empty for none.
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


def differences(built: Fingerprint, here: Fingerprint) -> list[str]:
    """Return why an engine does not fit, each as `what it was built for, what is here`; empty when it fits.

    The same compute capability under another name fits: TensorRT itself only warns then.
    """
    found = []
    if built.builder != here.builder:
        found.append(f"built by {built.builder}, this is {here.builder}")
    elif built.version != here.version and not (built.version_compatible and _major(built) == _major(here)):
        found.append(f"built by {built.builder} {built.version}, this is {here.version}")
    if built.target != here.target and not _covers(built, here):
        found.append(f"built for {_target(built)}, this is {_target(here)}")
    return found


def _covers(built: Fingerprint, here: Fingerprint) -> bool:
    number = here.target.removeprefix("sm")
    ampere_on = built.hardware_compatible or built.target == f"sm{AMPERE}plus"
    return ampere_on and number.isdigit() and int(number) >= AMPERE


def _major(one: Fingerprint) -> str:
    return one.version.partition(".")[0]


def _target(one: Fingerprint) -> str:
    return f"{one.device} ({one.target.upper()})" if one.device else one.target.upper()
