"""manifest.json: a bundle's artifacts and metadata, as dataclasses that are validated when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vegrt.bundle.entries import MANIFEST, check_artifact_names, is_regular
from vegrt.bundle.manifest_schema import (
    CalibrationFacts,
    EngineFacts,
    ModelFacts,
    NetworkFacts,
    SplitFacts,
    TrainingFacts,
    check_part,
)
from vegrt.dataset.classes import classes_fault
from vegrt.errors import BundleError, FormatError
from vegrt.photo.contract import Contract
from vegrt.schema import Count, Label, Sha256, build, parse_json
from vegrt.version import __version__

FORMAT = "vegrt-bundle"
FORMAT_VERSIONS = (1, 2)  # that are read; written is the edition of the contract

IMPORTED_INT8 = "int8-imported"  # variant of a quantized model that vegrt did not make; a second one is int8-imported-2

Role = Literal["weights", "source", "model", "mnn", "calibration", "engine", "audit", "timing", "golden", "trust"]
_PROVENANCE = ("model", "data", "training", "calibration", "tools")
_DETAILS: dict[str, type] = {"model": ModelFacts, "engine": EngineFacts}  # by role


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a bundle. path: relative, with slashes. variant: fp32, fp16, bf16, int8, int8-cpu, int8-imported, or empty."""

    path: str
    role: Role
    variant: Label
    sha256: Sha256
    size_bytes: Count
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of manifest.json.

    model: how to build the network (backbone, head). training, calibration, data, tools: provenance, as JSON values.
    """

    name: str
    classes: tuple[str, ...]
    contract: Contract
    model: dict[str, Any]
    artifacts: tuple[Artifact, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        return {
            "format": FORMAT,
            "format_version": self.contract.edition,
            "classes": list(self.classes),
            "contract": self.contract.to_dict(),
            "artifacts": [asdict(artifact) for artifact in self.artifacts],
            **{key: getattr(self, key) for key in ("name", *_PROVENANCE)},
        }

    @property
    def macs_per_image(self) -> int | None:
        """Return the multiplications of the network for one image; None in bundles of versions that did not count them."""
        return self.calibration.get("macs_per_image") or None

    def files(self) -> dict[str, tuple[int, str]]:
        """Return size in bytes and SHA-256 of every artifact, by path."""
        return {artifact.path: (artifact.size_bytes, artifact.sha256) for artifact in self.artifacts}


@dataclass(frozen=True, slots=True)
class _Content:
    """The JSON values of a manifest. data: facts by split; other keys are not validated."""

    name: str
    classes: tuple[str, ...]
    contract: dict[str, Any]
    artifacts: tuple[Artifact, ...]
    model: NetworkFacts
    data: dict[str, Any]
    training: TrainingFacts
    calibration: CalibrationFacts
    tools: dict[str, str]

    def __post_init__(self) -> None:
        for index, artifact in enumerate(self.artifacts):
            if artifact.role in _DETAILS:
                check_part(_DETAILS[artifact.role], artifact.details, f"artifacts[{index}].details")
        if fault := classes_fault(self.classes):
            raise FormatError(f"{fault}; train or export again with other class names", "classes:")
        for split, facts in self.data.items():
            if isinstance(facts, dict):
                check_part(SplitFacts, facts, f"data.{split}")


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest in a folder; None if the file is missing. Raises BundleError for a damaged one."""
    file = folder / MANIFEST
    return parse_manifest(file.read_bytes(), folder) if is_regular(file) else None


def parse_manifest(content: bytes, path: Path) -> Manifest:
    """Return the manifest in the bytes of a manifest.json. path: its folder, for messages. Raises BundleError."""
    try:
        return _parse(parse_json(content), path)
    except FormatError as error:
        raise BundleError(f"{path / MANIFEST}: damaged manifest ({error}); restore it or train again") from error


def _parse(value: Any, path: Path) -> Manifest:
    version = _checked_version(value, path)
    content = build(_Content, value)
    check_artifact_names(str(path / MANIFEST), [artifact.path for artifact in content.artifacts])
    contract = Contract.from_dict(content.contract)
    if contract.edition > version:  # vegrt 0.1 would ignore what it does not know, and prepare other pixels
        raise FormatError(f"has keys of format {contract.edition} in a bundle of format {version}", "contract")
    return Manifest(
        name=content.name,
        classes=content.classes,
        contract=contract,
        artifacts=content.artifacts,
        **{key: dict(value[key]) for key in _PROVENANCE},
    )


def _checked_version(value: Any, path: Path) -> int:
    """Return the format version. Raises BundleError for one that cannot be read."""
    if not isinstance(value, Mapping) or value.get("format") != FORMAT:
        raise BundleError(f'{path / MANIFEST}: not the manifest of a vegrt bundle; expected "format": "{FORMAT}"')
    version = value.get("format_version")
    if type(version) is not int or version not in FORMAT_VERSIONS:
        is_newer = type(version) is int and version > max(FORMAT_VERSIONS)
        advice = "upgrade vegrt to open it" if is_newer else "export it again"
        known = " and ".join(map(str, FORMAT_VERSIONS))
        raise BundleError(f"{path}: bundle format {version!r:.20}; vegrt {__version__} reads format {known}; {advice}")
    return version
