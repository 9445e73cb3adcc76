"""Says in words whether the photos of a device have moved away from those of validation, by its counters file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from vegrt.bundle.bundle import Bundle
from vegrt.errors import DataError
from vegrt.files.text import printable
from vegrt.infer.drift.looks import BLOCK, FALSE_ALARMS
from vegrt.infer.drift.record import Alarm, Alarms, CountersFile, Finding, Kind, Period
from vegrt.infer.trust.histograms import Reference
from vegrt.infer.trust.record import CandidateTrust
from vegrt.infer.trust.store import load_trust

Outcome = Literal["unchanged", "moved", "too few photos"]
EXIT_CODES: dict[Outcome, int] = {"unchanged": 0, "moved": 3, "too few photos": 4}
_HEADS: dict[Kind, str] = {"photos": "photos look different", "classes": "mix of classes changed"}
_SAME: dict[Kind, str] = {"photos": "photos look as in validation", "classes": "mix of classes is as in validation"}


@dataclass(frozen=True, slots=True)
class Overview:
    """Shares of the photos of a time. foreign, unsure: of all. reference_foreign, reference_unsure: of validation photos."""

    photos: int
    foreign: float
    unsure: float
    reference_foreign: float
    reference_unsure: float


@dataclass(frozen=True, slots=True)
class Drift:
    """Whether the world has moved. overview: of the hours that were asked for; None without photos in them.

    photos, classes: the alarms about how photos look and about the mix of classes; with `hours`, only the latest if it is not
    older. false_alarms: largest probability that a counters file ever holds one by chance.
    """

    verdict: Outcome
    key: str
    counted: int
    since: int
    hours: int | None
    overview: Overview | None
    photos: Alarms
    classes: Alarms
    class_names: tuple[str, ...]
    false_alarms: float = FALSE_ALARMS

    @property
    def exit_code(self) -> int:
        """Return 0 for unchanged, 3 for moved, 4 for too few photos."""
        return EXIT_CODES[self.verdict]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values; times in seconds since 1970."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it in words."""
        where = f"{self.key}: {self.counted:,} photos since {_date(self.since)}"
        span = "" if self.hours is None else f", of these the last {self.hours} hours"
        if self.verdict == "too few photos":
            return [f"{where}{span}", f"too few photos to say: a look needs {BLOCK}", *self._shares()]
        looks: tuple[tuple[Kind, Alarms], ...] = (("photos", self.photos), ("classes", self.classes))
        told = [line for kind, alarms in looks for line in self._about(kind, alarms)]
        chance = f"{self.false_alarms:.0%} of unchanged devices ever get a false alarm, however often one looks"
        return [f"{where}{span}", *told, *self._shares(), f"at most {chance}"]

    def _about(self, kind: Kind, alarms: Alarms) -> list[str]:
        if (latest := alarms.latest) is None:
            return [_SAME[kind]]
        first = alarms.first or latest
        until = "" if first == latest else f", first at photo {first.photos:,}, {_date(first.time)}"
        place = f"the {latest.window:,} photos up to photo {latest.photos:,}, {_date(latest.time)}{until}"
        return [f"{_HEADS[kind]}: {place}", *(f"  {line}" for line in described(latest, self.class_names))]

    def _shares(self) -> list[str]:
        if (shares := self.overview) is None:
            return []
        foreign = f"{_percent(shares.foreign)} foreign (validation {_percent(shares.reference_foreign)})"
        unsure = f"{_percent(shares.unsure)} unsure ({_percent(shares.reference_unsure)})"
        return [f"of {shares.photos:,} photos {foreign}, {unsure}"]


def described(alarm: Alarm, classes: Sequence[str]) -> list[str]:
    """Return what changed, a line for each finding, and the population stability index of each signal."""
    signals = dict.fromkeys(finding.signal for finding in alarm.findings if finding.signal != "class")
    firsts = [next(row for row in alarm.findings if row.signal == signal) for signal in signals]
    rows = [*firsts, *(row for row in alarm.findings if row.signal == "class")]
    indices = ", ".join(f"{name.replace('-', ' ')} {index:.2f}" for name, index in alarm.psi.items())
    told = [
        f"{_subject(row, classes)}: {_percent(row.reference)} -> {_percent(row.share)} (p = {row.p:.0e})"
        for row in rows
    ]
    return [*told, f"population stability index: {indices}"]


def judge_drift(
    bundle: Bundle, stored: CountersFile, path: Path, *, now: int, hours: int | None = None, mix: bool = False
) -> Drift:
    """Return the verdict on counters. path: their file, for messages. now: in seconds since 1970.

    hours: consider only alarms and photos of so many last hours. mix: whether a changed mix of classes alone counts as moved.
    Raises DataError for counters of another bundle, model or trust.json.
    """
    reference = _reference(bundle, stored, path)
    earliest = 0 if hours is None else now - 3600 * hours
    photos, classes = (_since(alarms, earliest, hours) for alarms in (stored.photos_alarms, stored.classes_alarms))
    periods = [period for period in stored.periods if period.start + 3600 * period.hours > earliest]
    has_look = stored.last_look is not None and stored.last_look >= earliest
    is_moved = photos.latest is not None or (mix and classes.latest is not None)
    return Drift(
        verdict="moved" if is_moved else "unchanged" if has_look else "too few photos",
        key=stored.key,
        counted=stored.photos,
        since=stored.created,
        hours=hours,
        overview=_overview([stored.total] if hours is None else periods, reference),
        photos=photos,
        classes=classes,
        class_names=stored.classes,
    )


def _reference(bundle: Bundle, stored: CountersFile, path: Path) -> Reference:
    trust = load_trust(bundle)
    rows = trust.candidates if trust else ()
    names = {artifact.sha256 for artifact in bundle.manifest.artifacts}
    row: CandidateTrust | None = next(
        (row for row in rows if (row.key, row.artifact_sha256) == (stored.key, stored.artifact_sha256)), None
    )
    if row is None or row.artifact_sha256 not in names or row.reference is None:
        raise DataError(
            f"{path}: counts {stored.key} of {printable(stored.bundle)}, of which {bundle.path} knows nothing; "
            "name the bundle that counted"
        )
    if bundle.artifact("trust").sha256 != stored.trust_sha256:
        raise DataError(f"{path}: counted by an earlier trust.json of {bundle.path}; count into a new file")
    return row.reference


def _since(alarms: Alarms, earliest: int, hours: int | None) -> Alarms:
    if hours is None:
        return alarms
    latest = alarms.latest if alarms.latest is not None and alarms.latest.time >= earliest else None
    return Alarms(latest, latest)


def _overview(periods: Sequence[Period], reference: Reference) -> Overview | None:
    photos = sum(period.photos for period in periods)
    if not photos:
        return None
    edges, classes = reference.edges, reference.classes
    known = sum(sum(row.scores) for row in classes)
    return Overview(
        photos,
        sum(sum(period.scores[edges.foreign :]) for period in periods) / photos,
        sum(period.unsure for period in periods) / photos,
        sum(sum(row.scores[edges.foreign :]) for row in classes) / known,
        sum(row.unsure for row in classes) / known,
    )


def _subject(finding: Finding, classes: Sequence[str]) -> str:
    at = finding.at or 0.0
    return {
        "foreign": "photos judged foreign",
        "unsure": "photos judged unsure",
        "confidence": f"calibrated probability of at most {at:.3g}",
        "foreign-score": f"foreign score of at most {at:.3g}",
        "class": f"share of {printable(classes[int(at)])}" if finding.signal == "class" else "",
    }[finding.signal]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
