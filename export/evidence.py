"""What `vegrt calibrate` measures and shows beside the calibration: each layer's sensitivity, and how many photos are enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import exclusive
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
from vegrt.results.files import save_result

if TYPE_CHECKING:
    from rich.table import Table

SENSITIVITY, CURVE = "sensitivity", "curve"
PROGRESS = ".calibrating-layers"


def analyse(path: Path, data: Path, job: ExportJob, *, sensitivity: bool, curve: bool) -> tuple[Bundle, dict[str, Any]]:
    """Return the bundle at `path` and what measure_extras measures of the calibration that it has; no model is changed."""
    with exclusive(path):
        bundle = open_bundle(path)
        return bundle, measure_extras(bundle, data, job, sensitivity=sensitivity, curve=curve)


def measure_extras(bundle: Bundle, data: Path, job: ExportJob, *, sensitivity: bool, curve: bool) -> dict[str, Any]:
    """Write results/sensitivity.json and results/curve.json, as far as asked for, and return their bodies by name.

    Nobody else may work on the bundle meanwhile: hold `exclusive`.
    """
    if not (sensitivity or curve):
        return {}
    manifest, model = bundle.manifest, load_fp32(bundle).model
    calibration = read_calibration(bundle.path / FILE)
    photos = calibration_photos(data, manifest.classes, manifest.contract, near_test=job.near_test).used
    subject = subject_of(model, photos, manifest.contract, job.settings)
    rows: dict[str, list[dict[str, Any]]] = {}
    if sensitivity:
        progress = open_progress(bundle.path, {"calibration": bundle.artifact("calibration").sha256}, PROGRESS)
        found = [one for encoding in ENCODINGS for one in sensitivities(subject, calibration, encoding, progress)]
        rows[SENSITIVITY] = [one.to_dict() for one in found]
    if curve:
        available = len(halves(photos, job.settings)[0])
        judge = Judge(subject.model(), subject.tournament)
        points = sample_curve(subject.model, subject.observed, available, calibration, job.settings, judge)
        rows[CURVE] = [point.to_dict() for point in points]
    judged = {SENSITIVITY: len(subject.few.labels), CURVE: len(subject.tournament.labels)}
    bodies = {name: _body(bundle, judged[name], found) for name, found in rows.items()}
    for name, body in bodies.items():
        save_result(bundle, name, body)
    finish_progress(bundle.path, PROGRESS)
    return bodies


def calibration_tables(bundle: Bundle, extras: dict[str, Any]) -> Iterator[Table]:
    """Yield the tournament, what stays in float, and the extras as tables for people."""
    known = bundle.manifest.calibration
    yield _tournament(known)
    yield _result(known)
    yield from extra_tables(extras)


def extra_tables(extras: dict[str, Any]) -> Iterator[Table]:
    """Yield what was measured beside a calibration as tables for people."""
    if found := extras.get(SENSITIVITY):
        heads = ("layer", "encoding", "KL, nats", "SQNR, dB", "flips")
        ordered = sorted(found["rows"], key=lambda row: -row["kl"])
        lines = [
            (row["layer"], row["encoding"], _figure(row["kl"]), f"{row['sqnr_db']:.1f}", row["flips"])
            for row in ordered
        ]
        yield _table(f"Each layer alone in 8 bits, {found['images']} photos, most sensitive first", heads, lines)
    if found := extras.get(CURVE):
        heads = ("photos observed", "encoding", "agreement", "KL, nats", "flips")
        lines = [
            (row["images"], row["encoding"], f"{row['agreement']:.2%}", _figure(row["kl"]), row["flips"])
            for row in found["rows"]
        ]
        yield _table(f"Ranges from fewer photos, judged on {found['images']} others", heads, lines)


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


def _body(bundle: Bundle, images: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    variants = ("fp32", *VARIANTS.values())
    used = [{"key": name, "artifact_sha256": bundle.artifact("model", name).sha256} for name in variants]
    return {"candidates": used, "images": images, "rows": rows}


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
