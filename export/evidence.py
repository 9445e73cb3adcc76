"""What `vegrt calibrate` measures and shows beside the calibration: each layer's sensitivity, and how many photos are enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegrt.bundle.bundle import Bundle, exclusive, open_bundle
from vegrt.calibration.calibrate import ENCODINGS
from vegrt.calibration.curve import sample_curve
from vegrt.calibration.judge import Judge
from vegrt.calibration.photos import calibration_photos
from vegrt.calibration.saved import FILE, read_calibration
from vegrt.calibration.settings import VARIANTS
from vegrt.calibration.share import percent
from vegrt.calibration.stage import finish_progress, open_progress, sensitivities
from vegrt.export.calibrated import halves, subject_of
from vegrt.export.stage import ExportJob, load_fp32
from vegrt.results.analysis import Curve, Sensitivity
from vegrt.results.common import ArtifactRow
from vegrt.results.convert import to_dict
from vegrt.results.files import save_result
from vegrt.results.header import header_fields

if TYPE_CHECKING:
    from rich.table import Table

PROGRESS = ".calibrating-layers"


@dataclass(frozen=True, slots=True)
class Extras:
    """What is measured beside a calibration; None: not wanted."""

    sensitivity: Sensitivity | None = None
    curve: Curve | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON values by name, without those that were not wanted."""
        results = {"sensitivity": self.sensitivity, "curve": self.curve}
        return {name: to_dict(result) for name, result in results.items() if result}


def analyse(path: Path, data: Path, job: ExportJob, *, sensitivity: bool, curve: bool) -> tuple[Bundle, Extras]:
    """Return the bundle at `path` and what measure_extras measures of the calibration that it has; no model is changed."""
    with exclusive(path):
        bundle = open_bundle(path)
        return bundle, measure_extras(bundle, data, job, sensitivity=sensitivity, curve=curve)


def measure_extras(bundle: Bundle, data: Path, job: ExportJob, *, sensitivity: bool, curve: bool) -> Extras:
    """Write results/sensitivity.json and results/curve.json, as far as they are wanted, and return them.

    Nobody else may work on the bundle meanwhile: hold `exclusive`.
    """
    if not (sensitivity or curve):
        return Extras()
    manifest, model = bundle.manifest, load_fp32(bundle).model
    calibration = read_calibration(bundle.path / FILE)
    photos = calibration_photos(data, manifest.classes, manifest.contract, near_test=job.near_test).used
    subject = subject_of(model, photos, manifest.contract, job.settings)
    extras = Extras()
    if sensitivity:
        progress = open_progress(bundle.path, {"calibration": bundle.artifact("calibration").sha256}, PROGRESS)
        costs = [cost for encoding in ENCODINGS for cost in sensitivities(subject, calibration, encoding, progress)]
        extras = replace(
            extras,
            sensitivity=Sensitivity(
                **header_fields(bundle, Sensitivity.KIND),
                candidates=_artifact_rows(bundle),
                images=len(subject.few.labels),
                rows=tuple(costs),
            ),
        )
    if curve:
        available = len(halves(photos, job.settings)[0])
        judge = Judge(subject.model(), subject.tournament)
        points = sample_curve(subject.model, subject.observed, available, calibration, job.settings, judge)
        extras = replace(
            extras,
            curve=Curve(
                **header_fields(bundle, Curve.KIND),
                candidates=_artifact_rows(bundle),
                images=len(subject.tournament.labels),
                rows=tuple(points),
            ),
        )
    for result in (extras.sensitivity, extras.curve):
        if result is not None:
            save_result(bundle, result.KIND, result)
    finish_progress(bundle.path, PROGRESS)
    return extras


def calibration_tables(bundle: Bundle, extras: Extras) -> Iterator[Table]:
    """Yield the tournament, what stays in float, and the extras as tables for people."""
    known = bundle.manifest.calibration
    yield _tournament(known)
    yield _result(known)
    yield from extra_tables(extras)


def extra_tables(extras: Extras) -> Iterator[Table]:
    """Yield what was measured beside a calibration as tables for people."""
    if sensitivity := extras.sensitivity:
        heads = ("layer", "encoding", "KL, nats", "SQNR, dB", "flips")
        ordered = sorted(sensitivity.rows, key=lambda row: -row.kl)
        lines = [(row.layer, row.encoding, _figure(row.kl), f"{row.sqnr_db:.1f}", row.flips) for row in ordered]
        yield _table(f"Each layer alone in 8 bits, {sensitivity.images} photos, most sensitive first", heads, lines)
    if curve := extras.curve:
        heads = ("photos observed", "encoding", "agreement", "KL, nats", "flips")
        points = [
            (point.images, point.encoding, f"{point.agreement:.2%}", _figure(point.kl), point.flips)
            for point in curve.rows
        ]
        yield _table(f"Ranges from fewer photos, judged on {curve.images} others", heads, points)


def _tournament(known: dict[str, Any]) -> Table:
    lines = [
        (
            *(row["encoding"], row["method"], f"{row['agreement']:.2%}", f"{row['accuracy']:.2%}", _figure(row["kl"])),
            "chosen" if known["method"][row["encoding"]] == row["method"] else "",
        )
        for row in known["tournament"]
    ]
    heads = ("encoding", "method", "agreement with fp32", "accuracy", "KL, nats", "")
    title = f"Ranges from {known['images']} photos, judged on {known['judged_images']} others"
    return _table(title, heads, lines)


def _result(known: dict[str, Any]) -> Table:
    lines = []
    for variant in VARIANTS.values():
        kept, score = known["float_layers"].get(variant, []), known["budget_scores"].get(variant)
        cost = f"{score['drop_points']:+.2f} points, {score['flips']} flips" if score else ""
        layers = f"{known['int8_weight_layers'][variant]} of {known['weight_layers']}"
        share = percent(known["int8_macs_share"][variant])
        lines.append((variant, ", ".join(kept) or "none", share, layers, cost))
    heads = (
        "variant",
        "layers in float",
        "multiplications in 8 bits",
        "weight layers in 8 bits",
        f"cost on {known['budget']['images']} held-out photos",
    )
    return _table("Mixed precision", heads, lines)


def _artifact_rows(bundle: Bundle) -> tuple[ArtifactRow, ...]:
    variants = ("fp32", *VARIANTS.values())
    return tuple(ArtifactRow(key=name, artifact_sha256=bundle.artifact("model", name).sha256) for name in variants)


def _figure(value: float) -> str:
    return f"{value:.3g}"


def _table(title: str, heads: tuple[str, ...], lines: list[tuple[Any, ...]]) -> Table:
    from rich.table import Table

    table = Table(title=title)
    for head in heads:
        table.add_column(head)
    for line in lines:
        table.add_row(*map(str, line))
    return table
