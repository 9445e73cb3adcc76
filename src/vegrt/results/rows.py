"""Which rows of a bundle's result files count: those whose artifact the bundle still holds, and whose engine is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeVar

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.results.common import CandidateRow, EngineRecord, candidate_key

PARTIAL = "-only-"  # in the name of a file that holds some candidates only; they are named behind it
Row = TypeVar("Row", bound=CandidateRow)
RowFault = Literal["other-artifact", "unknown-engine", "other-engine"]
_ENGINE_RUNTIME = "tensorrt"  # onnxruntime-tensorrt runs an ONNX model: its engine lies in a cache, not in the bundle


@dataclass(frozen=True, slots=True)
class RowId:
    """A candidate as the results of a bundle tell it from others. artifact_sha256: of an engine, also for its fingerprint."""

    variant: str
    runtime: str
    device: str
    artifact_sha256: str


def row_id(row: CandidateRow) -> RowId:
    """Return the candidate that a row is about. Of an answers file, the device: a newer file replaces an older one."""
    if row.is_answers:
        return RowId(row.variant, row.runtime, row.device, "")
    return RowId(row.variant, row.runtime, row.device, row.artifact_sha256)


def row_fault(bundle: Bundle, row: CandidateRow) -> RowFault | None:
    """Return why a row does not count for a bundle; None if it does.

    other-artifact: the bundle no longer holds what was measured. unknown-engine: the row is of an earlier version, which did not
    record the engine, and the bundle has several engines of the variant. other-engine: the row and the manifest state different
    facts about one engine.
    """
    if row.is_answers:  # the row is compared with the reference, which must count
        return None
    artifacts = [artifact for artifact in bundle.manifest.artifacts if artifact.sha256 == row.artifact_sha256]
    if not artifacts:
        return "other-artifact"
    if row.runtime != _ENGINE_RUNTIME:
        return None
    if row.engine is None:
        return "unknown-engine" if len(engines_of(bundle, row.variant)) > 1 else None
    stated = [replace(engine_record(artifact), path=row.engine.path) for artifact in artifacts]
    return None if row.engine in stated else "other-engine"


def row_key(bundle: Bundle, row: CandidateRow) -> str:
    """Return the key of a row among all rows of a bundle; it has the target of an engine that is not the only one."""
    if row.is_answers:
        return row.key
    key = candidate_key(row.variant, row.runtime, row.device)
    engines = engines_of(bundle, row.variant) if row.runtime == _ENGINE_RUNTIME else []
    if len(engines) < 2:
        return key
    targets = {engine.sha256: str(engine.details.get("target", "")) for engine in engines}
    target = targets.get(row.artifact_sha256, "")
    is_unique = bool(target) and list(targets.values()).count(target) == 1
    return f"{key}/{target if is_unique else row.artifact_sha256[:12]}"


def engines_of(bundle: Bundle, variant: str) -> list[Artifact]:
    """Return the bundle's TensorRT engines of a variant: those that a TensorRT runner can open on some machine."""
    return [
        artifact
        for artifact in bundle.manifest.artifacts
        if (artifact.role, artifact.variant) == ("engine", variant) and artifact.details.get("builder") == "tensorrt"
    ]


def engine_record(artifact: Artifact) -> EngineRecord:
    """Return the facts about an engine that results repeat, from the manifest."""
    names = (field.name for field in fields(EngineRecord) if field.name != "path")
    return EngineRecord(path=artifact.path, **{name: str(artifact.details.get(name, "")) for name in names})


@dataclass(frozen=True, slots=True)
class IgnoredRow:
    """A row that does not count, or a whole file if `key` is empty. file: its name in results/, without .json.

    other-photos, other-reference: the file is about other photos than the main one, or compares with another candidate.
    """

    file: str
    key: str
    cause: RowFault | Literal["other-photos", "other-reference"]


def split_rows(bundle: Bundle, file: str, rows: Sequence[Row]) -> tuple[tuple[Row, ...], list[IgnoredRow]]:
    """Return the rows of a file that count, and the others."""
    faults = [row_fault(bundle, row) for row in rows]
    counting = tuple(row for row, fault in zip(rows, faults, strict=True) if fault is None)
    return counting, [IgnoredRow(file, row.key, fault) for row, fault in zip(rows, faults, strict=True) if fault]


def stored_names(bundle: Bundle, name: str, pattern: str) -> list[str]:
    """Return the names of the result files `name` and `pattern`, a glob, without .json: `name` first, then by name."""
    files = (bundle.path / "results").glob(f"{pattern}.json")
    others = sorted({file.stem for file in files} - {name})
    return [*([name] if (bundle.path / "results" / f"{name}.json").exists() else []), *others]
