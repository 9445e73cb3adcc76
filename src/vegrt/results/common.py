"""What all result files have in common, as their schema (docs/results-format.md): header, candidate, figures with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from vegrt.errors import FormatError
from vegrt.schema import Difference, Label, Share, between

ABSENT: Any = None  # the default of a field that may be absent but not null
Figure = Annotated[float, between(-1e12, 1e12)]
Milliseconds = Annotated[float, between(1e-9, 1e12)]
Rate = Annotated[float, between(1e-9, 1e18)]
Size = Annotated[int, between(1, 2**63)]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its confidence interval."""

    value: Figure
    low: Figure
    high: Figure


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share of images with its confidence interval."""

    value: Share
    low: Share
    high: Share


@dataclass(frozen=True, slots=True)
class Drop:
    """A difference of proportions with its confidence interval."""

    value: Difference
    low: Difference
    high: Difference


@dataclass(frozen=True, slots=True)
class BundleName:
    """Which bundle was measured. sha256: of its manifest."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured."""

    cpu: Label
    cores: Figure = ABSENT
    platform: Label = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What every result file begins with."""

    schema: Label
    schema_version: int
    created: Label
    bundle: BundleName
    machine: Machine
    versions: dict[str, Label] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """An artifact that a result speaks of."""

    artifact_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Used):
    """A variant on a runtime. Rows from before the device was noted are of the CPU."""

    key: Label
    variant: Label
    runtime: Label
    size_bytes: Size
    device: Label = "cpu"


def check_unique(keys: Sequence[str]) -> None:
    """Raise FormatError when two candidates have one key."""
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise FormatError(f"has {twice[0]} twice", "candidates")


def check_length(column: Sequence[Any], count: int, place: str, wanted: str) -> None:
    """Raise FormatError unless a list has `count` entries."""
    if len(column) != count:
        raise FormatError(f"has {len(column)} entries; expected {count}, {wanted}", place)
