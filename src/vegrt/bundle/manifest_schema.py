"""The schema of manifest.json: what it may say of training, calibration and artifacts, beyond what its own dataclasses say.

All of it may be absent, because bundles that were made before something was noted stay readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vegrt.dataset.classes import classes_fault
from vegrt.errors import FormatError
from vegrt.schema import Count, Label, Share, build

_Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """The photos of a split. counts: by class. fingerprint: over names and contents."""

    photos: Count = 0
    counts: dict[str, Count] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch as the manifest keeps it."""

    epoch: Count
    phase: Literal["head", "all"]
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """How the network was trained."""

    recipe: dict[str, _Scalar] = field(default_factory=dict)
    device: Label = ""
    best_epoch: Count | None = None
    validation_accuracy: Share | None = None
    seconds: float = 0.0
    epochs: tuple[Epoch, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Contestant:
    """A method's int8 model on the photos that judged it. kl: in nats."""

    method: str
    encoding: str
    agreement: Share
    kl: float


@dataclass(frozen=True, slots=True)
class OutlierFacts:
    """A channel whose values are far larger than the others'."""

    layers: tuple[str, ...]
    channel: Count
    peak: float
    typical: float


@dataclass(frozen=True, slots=True)
class CalibrationFacts:
    """How the int8 models were calibrated. method: by encoding. float_layers, int8_macs_share: by variant."""

    method: dict[str, str] = field(default_factory=dict)
    images: Count = 0
    judged_images: Count = 0
    tournament: tuple[Contestant, ...] | None = ()
    float_layers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    int8_macs_share: dict[str, float] = field(default_factory=dict)
    outliers: tuple[OutlierFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """How the network is built: a backbone with its head, or the name of a foreign ONNX file."""

    backbone: Label | None = None
    head: Label | None = None
    onnx: Label | None = None


@dataclass(frozen=True, slots=True)
class ParityFacts:
    """How a model's answers compare with its reference's."""

    top1_agreement: Share
    images: Count


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What an artifact says of an ONNX model. float: the type of what is not 8-bit in it."""

    reference: str = ""
    float: str = ""
    parity: ParityFacts | None = None


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an artifact says of an engine: vegrt.infer.runtimes.fingerprint, and the layers by the builder's own list."""

    builder: Label = ""
    version: Label = ""
    target: Label = ""
    device: Label = ""
    profile: Label = ""
    version_compatible: bool = False
    hardware_compatible: bool = False
    weight_layers: Count = 0
    convolutions: Count = 0
    matched: Count = 0
    wanted: Label = ""


@dataclass(frozen=True, slots=True)
class ArtifactFacts:
    """What is checked of an artifact here; the rest in vegrt.bundle.bundle.Artifact."""

    path: str
    role: str
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = {"model": ModelFacts, "engine": EngineFacts}
        if self.role in kinds:
            check_part(kinds[self.role], self.details, "details")


@dataclass(frozen=True, slots=True)
class ManifestFacts:
    """The manifest as a whole. data: by split; other keys of it are provenance of any kind."""

    name: str
    classes: tuple[str, ...]
    contract: dict[str, Any]
    artifacts: tuple[ArtifactFacts, ...]
    model: NetworkFacts
    data: dict[str, Any]
    training: TrainingFacts
    calibration: CalibrationFacts
    tools: dict[str, str]

    def __post_init__(self) -> None:
        if fault := classes_fault(self.classes):
            raise FormatError(f"{fault}; make the bundle again with other names", "classes:")
        for split, facts in self.data.items():
            if isinstance(facts, dict):
                check_part(SplitFacts, facts, f"data.{split}")


def check_manifest(value: Mapping[str, Any]) -> None:
    """Raise FormatError, which names the place, where a manifest's JSON values are not what they may be."""
    build(ManifestFacts, dict(value))


def check_part(kind: type[Any], value: Any, place: str) -> None:
    """Raise FormatError where the value at `place` does not fit `kind`."""
    try:
        build(kind, value)
    except FormatError as error:
        raise FormatError(error.reason, f"{place}.{error.place}") from error
