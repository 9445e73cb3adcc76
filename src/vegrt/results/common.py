"""Parts that all result files share (docs/results-format.md): header, candidate rows, figures with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_type_hints

from vegrt.errors import FormatError
from vegrt.results.shown import Shown
from vegrt.schema import Label, Rule, Sha256, between

ANSWERS: Literal["answers"] = "answers"  # the runtime of a row about an answers file
GPU_RUNTIMES: tuple[Literal["tensorrt"], Literal["onnxruntime-tensorrt"]] = ("tensorrt", "onnxruntime-tensorrt")
Verdict = Literal["REFERENCE", "PASS", "FAIL", "INCONCLUSIVE"]

OMITTED = Rule(lambda value: value is not None, "a value, or no such key")  # for None the key is omitted, never null
_PLAIN = {str, int, float, bool, type(None)}
Figure = Annotated[float, between(-1e12, 1e12)]
Milliseconds = Annotated[float, between(1e-9, 1e12)]
Rate = Annotated[float, between(1e-9, 1e18)]
Size = Annotated[int, between(1, 2**63)]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its confidence interval."""

    value: Figure
    low: Figure
    high: Figure


def _within(low: float, high: float, expected: str) -> Rule:
    return Rule(
        lambda interval: all(low <= end <= high for end in (interval.value, interval.low, interval.high)), expected
    )


Proportion = Annotated[Interval, _within(0, 1, "a value, low and high from 0 to 1")]
Drop = Annotated[Interval, _within(-1, 1, "a value, low and high from -1 to 1")]


@dataclass(frozen=True, slots=True)
class BundleName:
    """The bundle that was measured. sha256: of its manifest."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """The machine that measured. cores: number of cores that the process could use. gpu: the name of the GPU that ran.

    Old files have neither; gpu is also missing where nothing ran on a GPU.
    """

    cpu: Label
    cores: Annotated[Figure | None, OMITTED] = None
    platform: Label = ""
    gpu: Annotated[Label | None, OMITTED] = None


@dataclass(frozen=True, slots=True)
class Command:
    """The command that wrote a result. options: those that differ from their default, by flag."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


def json_values(value: Any) -> Any:
    """Return a dataclass, or a value of one, as JSON values."""
    if is_dataclass(value):
        omitted = _omitted(value.__class__)
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: json_values(inner) for name, inner in pairs if not (inner is None and name in omitted)}
    if isinstance(value, dict):
        return {key: json_values(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return list(value) if set(map(type, value)) <= _PLAIN else [json_values(inner) for inner in value]
    return value


@cache
def _omitted(kind: type) -> frozenset[str]:
    """Return the names of the fields that are omitted if they are None."""
    hints = get_type_hints(kind, include_extras=True)
    return frozenset(name for name, hint in hints.items() if OMITTED in get_args(hint)[1:])


@dataclass(frozen=True, kw_only=True)
class Result(Shown):
    """The header of every result file. command: None for a result that neither a command nor a function of the API made."""

    schema: Label
    schema_version: int
    created: Label
    bundle: BundleName
    machine: MachineRecord
    versions: dict[str, Label] = field(default_factory=dict)
    command: Annotated[Command | None, OMITTED] = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values, as in its file and after --json."""
        values: dict[str, Any] = json_values(self)
        return values


@dataclass(frozen=True, kw_only=True)
class ArtifactRow:
    """An artifact that a result describes. key: its variant, or variant/runtime."""

    artifact_sha256: str
    key: Label = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """The TensorRT engine that a candidate ran. path: in the bundle. builder, version: what built it.

    target: the compute capability that it was built for, as sm87. device: the name of the GPU. platform: operating system and
    processor, as linux-x86_64. Both are empty if unknown.
    """

    path: Label
    builder: Label
    version: Label
    target: Label
    device: Label = ""
    platform: Label = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedSpeed:
    """The speed that an answers file states; vegrt measured nothing.

    photos: number of photos with a latency. p50_ms, p95_ms: of their latencies. images_per_s: where the file states it.
    """

    photos: Size
    p50_ms: Milliseconds
    p95_ms: Milliseconds
    images_per_s: Annotated[Rate | None, OMITTED] = None


AnswerKind = Literal["logits", "probabilities", "top1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersRecord:
    """The file with the answers of another device. file: its name. sha256: of its bytes. kind: what it has for each photo."""

    file: Label
    sha256: Sha256
    kind: AnswerKind
    speed: Annotated[StatedSpeed | None, OMITTED] = None


@dataclass(frozen=True, kw_only=True)
class CandidateRow:
    """A candidate and its artifact. engine: only of engines. Old files name neither device (it was the CPU) nor engine.

    answers: only of answers made elsewhere: then key and device are the device's name, variant and runtime are `answers`, and
    artifact_sha256 and size_bytes are of the answers file.
    """

    key: Label
    variant: Label
    runtime: Label
    device: Label = "cpu"
    artifact_sha256: str
    size_bytes: Size
    engine: Annotated[EngineRecord | None, OMITTED] = None
    answers: Annotated[AnswersRecord | None, OMITTED] = None

    @property
    def is_answers(self) -> bool:
        """Return whether the row is about an answers file, not about a candidate of the bundle."""
        return self.answers is not None


def candidate_key(variant: str, runtime: str, device: str) -> str:
    """Return the key of a candidate in result files; the device is named only where the runtime has a choice of it."""
    key = f"{variant}/{runtime}"
    return key if device == "cpu" or runtime in GPU_RUNTIMES else f"{key}/{device}"


def check_unique(keys: Sequence[str]) -> None:
    """Raise FormatError when two candidates have the same key."""
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise FormatError(f"has {repeated[0]} twice", "candidates")


def check_length(column: Sequence[Any], count: int, place: str, expected: str) -> None:
    """Raise FormatError if the number of entries in a list is not `count`."""
    if len(column) != count:
        raise FormatError(f"has {len(column)} entries; expected {count}, {expected}", place)
