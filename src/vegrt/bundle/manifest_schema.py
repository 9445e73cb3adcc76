"""Types of the facts in manifest.json about network, training, calibration and artifacts.

Every fact is optional, so that bundles of older versions, which did not record it, stay readable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from vegrt.errors import FormatError
from vegrt.schema import Count, Label, Share, build

_Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """The photos of a split. counts: photos by class. fingerprint: over names and contents."""

    photos: Count = 0
    counts: dict[str, Count] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Measures of one epoch."""

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
class StopFacts:
    """After how many photos, hardest first, a method of the tournament was stopped, and the figure in which it was worse."""

    images: Count
    reason: str


@dataclass(frozen=True, slots=True)
class Contestant:
    """Agreement of one method's int8 model with fp32 on the held-out photos. kl: in nats."""

    method: str
    encoding: str
    agreement: Share
    kl: float
    stopped: StopFacts | None = None


@dataclass(frozen=True, slots=True)
class OutlierFacts:
    """A channel whose values are far larger than the others'."""

    layers: tuple[str, ...]
    channel: Count
    peak: float
    typical: float


@dataclass(frozen=True, slots=True)
class CalibrationFacts:
    """How the int8 models were calibrated. method: by encoding. float_layers, int8_macs_share: by variant.

    macs_per_image: the multiplications of the network for one image, of which int8_macs_share is a share; 0 if unknown.
    """

    method: dict[str, str] = field(default_factory=dict)
    images: Count = 0
    judged_images: Count = 0
    tournament: tuple[Contestant, ...] | None = ()
    float_layers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    int8_macs_share: dict[str, float] = field(default_factory=dict)
    macs_per_image: Count = 0
    outliers: tuple[OutlierFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """How to build the network: a backbone with its head, or the name of an imported ONNX file."""

    backbone: Label | None = None
    head: Label | None = None
    onnx: Label | None = None


@dataclass(frozen=True, slots=True)
class ParityFacts:
    """Agreement of a model's predictions with those of its reference."""

    top1_agreement: Share
    images: Count
    min_cosine: float | None = None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Details of an ONNX model. float: the type of its layers that are not 8-bit.

    runtimes: that ran a model which vegrt did not make, where it was added; None for the others. onnx: the name of its file.
    """

    reference: str = ""
    float: str = ""
    parity: ParityFacts | None = None
    runtimes: tuple[str, ...] | None = None
    onnx: Label = ""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """Details of an engine: its fingerprint (vegrt.infer.runtimes.fingerprint), builder options, and counts of its layer audit.

    unchecked: layers with weights whose type could not be read. layers_from: the builder's log or the engine inspector.
    """

    builder: Label = ""
    version: Label = ""
    target: Label = ""
    device: Label = ""
    platform: Label = ""
    profile: Label = ""
    version_compatible: bool = False
    hardware_compatible: bool = False
    workspace_mib: Count = 0
    level: Count | None = None
    tf32: bool = False
    min_int8: Share | None = None
    weight_layers: Count = 0
    convolutions: Count = 0
    matched: Count = 0
    unchecked: Count = 0
    wanted: Label = ""
    layers_from: Label = ""


def check_part(kind: type[Any], value: Any, place: str) -> None:
    """Raise FormatError if the value at `place` does not match `kind`."""
    try:
        build(kind, value)
    except FormatError as error:
        raise FormatError(error.reason, f"{place}.{error.place}") from error
