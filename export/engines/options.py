"""The options of an export and of its engines, and those that a bundle's engines were built with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.errors import EngineError

OPSET = 20


@dataclass(frozen=True, slots=True)
class Profile:
    """The batch sizes of an engine: smallest, the one that it is tuned for, largest."""

    smallest: int = 1
    tuned: int = 8
    largest: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.tuned <= self.largest:
            raise EngineError(f"profile {self}: expected 1 <= smallest <= tuned <= largest batch")

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Return the profile of the text MIN,OPT,MAX. Raises EngineError for any other text."""
        parts = text.split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
            raise EngineError(f"--batch {text!r}: expected three numbers MIN,OPT,MAX, such as 1,8,32")
        return cls(*map(int, parts))

    @classmethod
    def of_engine(cls, subject: str, details: Mapping[str, Any]) -> Profile:
        """Return the profile in the manifest's details of an engine. Raises EngineError when it has none."""
        sizes = re.fullmatch(r"b(\d{1,6})-(\d{1,6})-(\d{1,6})", str(details.get("profile")))
        if sizes is None:
            raise EngineError(
                f"{subject}: profile {details.get('profile')!r}; expected one such as {Profile()}; export it again"
            )
        return cls(*map(int, sizes.groups()))

    def __str__(self) -> str:
        return f"b{self.smallest}-{self.tuned}-{self.largest}"


PRESETS = {"online": Profile(), "offline": Profile(1, 64, 256)}


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The options of the TensorRT builder.

    workspace_mib: its scratch memory. level: 0 (fast build) to 5 (fast engine); None for TensorRT's default.
    version_compatible: later versions can load the engine too. hardware_compatible: it runs on any GPU from Ampere on.
    tf32: float32 products may be rounded to 10 bits of mantissa; TensorRT's default, here off, so that fp32 means float32.
    """

    workspace_mib: int = 1024
    level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    tf32: bool = False

    @property
    def suffix(self) -> str:
        """Return the part of a folder's name that tells engines of other options apart; empty for the defaults."""
        marks = {"-vc": self.version_compatible, "-hc": self.hardware_compatible, "-tf32": self.tf32}
        return "".join(mark for mark, is_set in marks.items() if is_set)


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of an export.

    opset: of all models except bf16.onnx. bf16: also write a bfloat16 model. fp32_engine: also build an fp32 engine.
    profile: batch sizes of the engines. min_int8: smallest share of all layers with weights that must be Int8 in an int8 engine;
    None requires every layer that is quantized in int8.onnx. fp16: also write a float16 model and its engine; without, the float
    layers of int8.onnx are float32, and the fp32 engine takes the place of the other.
    """

    opset: int = OPSET
    bf16: bool = False
    fp32_engine: bool = False
    profile: Profile = field(default_factory=Profile)
    build: BuildOptions = field(default_factory=BuildOptions)
    min_int8: float | None = None
    fp16: bool = True

    def __post_init__(self) -> None:
        if self.min_int8 is not None and not 0 <= self.min_int8 <= 1:
            raise EngineError(f"--min-int8 {self.min_int8}: expected a share between 0 and 1")

    @property
    def engine_variants(self) -> tuple[str, ...]:
        """Return the variants of which engines are built."""
        asked = {"fp32": self.fp32_engine or not self.fp16, "fp16": self.fp16, "bf16": self.bf16, "int8": True}
        return tuple(variant for variant, is_asked in asked.items() if is_asked)


def recorded_options(bundle: Bundle, variant: str = "") -> ExportOptions:
    """Return the options of the bundle's last engine of a variant, or of any; the defaults for a bundle without one.

    Raises EngineError for an engine without a profile.
    """
    artifacts = bundle.manifest.artifacts
    built = [artifact for artifact in artifacts if artifact.role == "engine" and variant in ("", artifact.variant)]
    variants = {artifact.variant for artifact in artifacts if artifact.role == "engine"}
    models = bundle.variants()
    has_fp16 = "fp16" in models or "fp32" not in models  # a bundle without models was not exported yet
    options = ExportOptions(bf16="bf16" in models, fp32_engine="fp32" in variants, fp16=has_fp16)
    return _with_engine(bundle, built[-1], options) if built else options


def _with_engine(bundle: Bundle, engine: Artifact, options: ExportOptions) -> ExportOptions:
    details = engine.details
    return replace(
        options,
        profile=Profile.of_engine(str(bundle.path / engine.path), details),
        build=BuildOptions(**{key: details[key] for key in BuildOptions.__slots__ if key in details}),
        min_int8=details.get("min_int8"),
    )
