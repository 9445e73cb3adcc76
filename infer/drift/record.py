"""The content of a counters file (docs/drift.md): what a device answered, hour by hour, and what the looks at it found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from vegrt.errors import FormatError
from vegrt.infer.trust.histograms import ClassCounts, Edges, check_rows
from vegrt.results.common import Figure, Size, check_length
from vegrt.schema import NOT_EMPTY, Count, Label, Sha256, Share, build_document

SCHEMA, SCHEMA_VERSION = "vegrt-counters", 1
# What a look compares: the mix of answered classes, or how the photos of each class look to the model
Kind = Literal["photos", "classes"]
KINDS: tuple[Kind, ...] = ("photos", "classes")
Signal = Literal["foreign", "unsure", "confidence", "foreign-score", "class"]


@dataclass(frozen=True, slots=True)
class Period:
    """The answers of an hour or, where they are older, of a day. start: in seconds since 1970, UTC.

    classes: photos by answered class. confidence, scores: photos in each bin. unsure: photos.
    """

    start: Count
    hours: Size
    classes: tuple[Count, ...]
    confidence: tuple[Count, ...]
    scores: tuple[Count, ...]
    unsure: Count

    @property
    def photos(self) -> int:
        """Return the number of photos."""
        return sum(self.classes)


@dataclass(frozen=True, slots=True)
class Level:
    """Windows of one length. closed: how many are complete. open: the photos of the one that is not, by class."""

    closed: Count
    open: tuple[ClassCounts, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A share that changed. at: the edge below which the photos were counted, or the index of the class; None without one.

    reference: the share among validation photos, for `photos` of the same mix of classes. share: of the window.
    """

    signal: Signal
    at: Figure | None
    reference: Share
    share: Share
    p: Share


@dataclass(frozen=True, slots=True)
class Alarm:
    """A look that found a change. photos: counted until then. time: in seconds since 1970. window: photos that it looked at.

    findings: what changed, the smallest p-value first. psi: population stability indices, by signal.
    """

    photos: Size
    time: Count
    window: Size
    findings: Annotated[tuple[Finding, ...], NOT_EMPTY]
    psi: dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Alarms:
    """The first and the latest alarm of one kind; None where there was none."""

    first: Alarm | None = None
    latest: Alarm | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountersFile:
    """The content of a counters file. key, artifact_sha256, trust_sha256: of the candidate whose answers it counts, and of the
    trust.json by whose thresholds. periods: the oldest first. levels: windows of 100, 200, 400 ... photos. last_look: time of the
    latest look; None before the first.
    """

    schema: Literal["vegrt-counters"] = "vegrt-counters"
    schema_version: Size = SCHEMA_VERSION
    created: Count
    updated: Count
    bundle: Label
    key: Label
    artifact_sha256: Sha256
    trust_sha256: Sha256
    classes: Annotated[tuple[str, ...], NOT_EMPTY]
    edges: Edges
    photos: Count
    total: Period
    periods: tuple[Period, ...] = ()
    levels: tuple[Level, ...] = ()
    last_look: Count | None = None
    photos_alarms: Alarms = Alarms()
    classes_alarms: Alarms = Alarms()

    def __post_init__(self) -> None:
        for period in (self.total, *self.periods):
            check_length(period.classes, len(self.classes), "periods.classes", "one for each class")
            check_length(period.confidence, len(self.edges.confidence) + 1, "periods.confidence", "one for each bin")
            check_length(period.scores, len(self.edges.scores) + 1, "periods.scores", "one for each bin")
        for level in self.levels:
            check_rows(level.open, self.edges, "levels.open")
            if any(row.label >= len(self.classes) for row in level.open):
                raise FormatError(f"has a class beyond the {len(self.classes)}", "levels.open")

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Any) -> CountersFile:
        """Return JSON values as a CountersFile. Raises FormatError for another schema or version, and for an invalid value."""
        return build_document(cls, value, SCHEMA, SCHEMA_VERSION)
