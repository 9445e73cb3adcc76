"""Evaluation: every candidate over one pass of decoded images, judged pair by pair against fp32."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle import Bundle
from vegrt.dataset import Split, warn_unreadable
from vegrt.errors import DataError, ModelError, VegrtError
from vegrt.infer.open import Candidate, describe, open_candidate
from vegrt.infer.pipeline import batches
from vegrt.infer.statistics import CONFIDENCE, Interval, images_to_decide, judge, mcnemar, tango, wilson
from vegrt.progress import track

if TYPE_CHECKING:
    from rich.table import Table

BATCH = 32
CALIBRATION_BINS = 15  # of the expected calibration error: Guo et al., ICML 2017


def evaluate(
    bundle: Bundle, split: Split, chosen: list[Candidate], *, margin: float, leaked: Collection[str] | None = None
) -> dict[str, Any]:
    """Return the body of an evaluation result (docs/results-format.md).

    chosen: the first is the reference that the others are compared with. margin: of the gate, in percentage points.
    leaked: photos, as `Split.relative` names them, without which every figure is given a second time; None: no audit.
    Raises DataError when the split's classes are not the bundle's, or when no photo is readable.
    """
    if split.classes != bundle.manifest.classes:
        trained = ", ".join(bundle.manifest.classes)
        raise DataError(f"{split.root}: classes {', '.join(split.classes)}; {bundle.path} was trained on {trained}")
    logits, kept, errors = collect_logits(bundle, split, chosen)
    warn_unreadable(errors, len(split))
    if not kept:
        raise DataError(f"{split.root}: none of {len(split)} photos is readable; nothing to evaluate")
    return {"unreadable": errors, **judged(bundle, split, kept, logits, margin=margin, leaked=leaked)}


def judged(
    bundle: Bundle,
    split: Split,
    kept: list[int],
    logits: Mapping[Candidate, NDArray[np.float32]],
    *,
    margin: float,
    leaked: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return the result's figures. kept: the positions of the photos that the (N, K) logits are of; the first is the
    reference.
    """
    labels = np.array([split.photos[index].label for index in kept])
    names = [split.relative(split.photos[index]) for index in kept]
    clean = None if leaked is None else np.array([name not in leaked for name in names])
    reference = next(iter(logits.values()))
    rows = []
    for candidate, values in logits.items():
        figures = partial(_figures, margin=margin, is_reference=values is reference)
        row = {**describe(bundle, candidate), **figures(values, reference, labels)}
        if clean is not None and clean.any():
            row["without_leaks"] = figures(values[clean], reference[clean], labels[clean])
        rows.append(row)
    return {
        "split": split.name,
        "data_fingerprint": split.fingerprint(),
        "images": len(kept),
        "leaked": None if clean is None else int((~clean).sum()),
        "classes": list(split.classes),
        "margin_points": margin,
        "confidence": CONFIDENCE,
        "candidates": rows,
        "predictions": _predictions(names, labels, logits),
    }


def collect_logits(
    bundle: Bundle, split: Split, chosen: list[Candidate]
) -> tuple[dict[Candidate, NDArray[np.float32]], list[int], list[str]]:
    """Return each candidate's (N, K) logits, the positions of the N readable photos, and why others were skipped."""
    if not chosen:
        raise VegrtError(f"{bundle.path}: nothing to evaluate; export it first: vegrt export {bundle.path} --data DATA")
    runners = {candidate: open_candidate(bundle, candidate) for candidate in chosen}
    parts: dict[Candidate, list[NDArray[np.float32]]] = {candidate: [] for candidate in chosen}
    kept: list[int] = []
    errors: list[str] = []
    paths = [photo.path for photo in split.photos]
    total = -(-len(paths) // BATCH)
    for batch in track(batches(paths, bundle.manifest.contract, BATCH), f"Evaluating {split.name}", total):
        kept += batch.indices
        errors += [reason for _, reason in batch.errors]
        for candidate, runner in runners.items() if batch.indices else ():
            logits = runner.logits(batch.images)
            if not np.isfinite(logits).all():
                raise ModelError(f"{bundle.path}: {candidate} gives logits that are not finite; export it again")
            parts[candidate].append(logits)
    return {one: np.concatenate(rows) for one, rows in parts.items() if rows}, kept, errors


def worst_verdict(body: Mapping[str, Any]) -> str:
    """Return FAIL if any candidate failed, else INCONCLUSIVE if any is, else PASS."""
    verdicts = {row["gate"]["verdict"] for row in body["candidates"]}
    return next((verdict for verdict in ("FAIL", "INCONCLUSIVE") if verdict in verdicts), "PASS")


def evaluation_table(body: Mapping[str, Any]) -> Table:
    """Return the result as a table for people."""
    from rich.table import Table

    table = Table(title=f"{body['images']} {body['split']} images, margin {body['margin_points']} points")
    clean = bool(body["leaked"])
    headings = ["candidate", "top-1 %", "drop, points (95 %)", "flips", "McNemar p", "gate"]
    for heading in [*headings, f"top-1 % without {body['leaked']} leaked"] if clean else headings:
        table.add_column(heading)
    for row in body["candidates"]:
        paired = row["paired"]
        low, value, high = (100 * paired["drop"][key] for key in ("low", "value", "high"))
        table.add_row(
            row["key"],
            _percent(row["top1"]),
            f"{value:+.2f} ({low:+.2f} to {high:+.2f})",
            str(paired["flips"]),
            f"{paired['mcnemar_p']:.3f}",
            row["gate"]["verdict"],
            *([_percent(row["without_leaks"]["top1"])] if clean and "without_leaks" in row else []),
        )
    return table


def _percent(interval: Mapping[str, float]) -> str:
    return f"{100 * interval['value']:.2f} ({100 * interval['low']:.2f} to {100 * interval['high']:.2f})"


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (N, K) probabilities, computed in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int_]) -> float:
    """Return the expected calibration error: mean |accuracy - confidence| over equal-width bins, weighted by count."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, correct - confidence, CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def _figures(
    logits: NDArray[np.float32],
    reference: NDArray[np.float32],
    labels: NDArray[np.int_],
    *,
    margin: float,
    is_reference: bool,
) -> dict[str, Any]:
    """Return all figures of (N, K) logits, paired with the reference's on the same images."""
    probabilities, top1 = softmax(logits), logits.argmax(axis=1)
    count, classes = len(labels), logits.shape[1]
    right = top1 == labels
    top3 = np.argsort(-logits, axis=1)[:, :3] == labels[:, None]
    own = np.maximum(probabilities[np.arange(count), labels], 1e-12)
    confusion = np.bincount(labels * classes + top1, minlength=classes * classes).reshape(classes, classes)
    paired = compare(reference.argmax(axis=1), top1, labels)
    return {
        "top1": asdict(wilson(int(right.sum()), count)),
        "top3": asdict(wilson(int(top3.any(axis=1).sum()), count)),
        "nll": float(-np.log(own).mean()),
        "ece": calibration_error(probabilities, labels),
        "confusion": confusion.tolist(),
        "paired": paired,
        "gate": _reference_gate() if is_reference else gate(paired, count, margin),
    }


def compare(reference: NDArray[np.intp], candidate: NDArray[np.intp], labels: NDArray[np.int_]) -> dict[str, Any]:
    """Return the paired comparison of two (N,) top-1 predictions on the same images. drop: proportion of N."""
    was_right, is_right = reference == labels, candidate == labels
    newly_wrong, newly_right = int((was_right & ~is_right).sum()), int((~was_right & is_right).sum())
    flips = int((reference != candidate).sum())
    return {
        "flips": flips,
        "newly_wrong": newly_wrong,
        "newly_right": newly_right,
        "wrong_to_other_wrong": flips - newly_wrong - newly_right,
        "agreement": 1 - flips / len(labels),
        "drop": asdict(tango(newly_wrong, newly_right, len(labels))),
        "mcnemar_p": mcnemar(newly_wrong, newly_right),
    }


def gate(paired: Mapping[str, Any], images: int, margin: float) -> dict[str, Any]:
    """Return the gate's verdict on a comparison, with the reason in words. margin: in percentage points."""
    drop = Interval(**paired["drop"])
    verdict = judge(drop, margin / 100)
    span = f"drop {100 * drop.value:+.2f} points, {CONFIDENCE:.0%} interval {100 * drop.low:+.2f} to {100 * drop.high:+.2f}"
    words = {
        "PASS": f"{span}: all below the margin of {margin} points",
        "FAIL": f"{span}: all above the margin of {margin} points",
    }
    needed = images_to_decide(paired["newly_wrong"], paired["newly_right"], images, margin / 100)
    advice = f"about {needed:,} images would decide" if needed else "more images alone would hardly decide"
    reason = words.get(verdict, f"{span}: the margin of {margin} points lies within; at these rates {advice}")
    return {"verdict": verdict, "reason": reason}


def _reference_gate() -> dict[str, Any]:
    return {"verdict": "REFERENCE", "reason": "what the others are compared with"}


def _predictions(
    names: list[str], labels: NDArray[np.int_], logits: Mapping[Candidate, NDArray[np.float32]]
) -> dict[str, Any]:
    """Return, per readable photo in order: its name, label, and each candidate's top-1 with its probability."""
    return {
        "paths": names,
        "labels": labels.tolist(),
        "candidates": {
            str(candidate): {
                "top1": values.argmax(axis=1).tolist(),
                "probability": [round(float(number), 6) for number in softmax(values).max(axis=1)],
            }
            for candidate, values in logits.items()
        },
    }
