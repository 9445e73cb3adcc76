"""Evaluation: every candidate over one pass of decoded images, judged pair by pair against fp32."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split, warn_unreadable
from vegrt.errors import BundleError, DataError, ModelError
from vegrt.evaluate.coverage import not_run
from vegrt.evaluate.diagnose import DiagnosisSubject, candidate_cause, check_labels, explained
from vegrt.evaluate.figures import Answers, figures_of
from vegrt.evaluate.paired import Margin, compare, gate, paired_figures, reference_gate
from vegrt.evaluate.predictions import predictions, write_table
from vegrt.evaluate.resampling import RESAMPLES, Resamples
from vegrt.evaluate.statistics import CONFIDENCE
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.runtimes.candidates import is_installed, nothing_runs
from vegrt.infer.runtimes.onnx_file import metadata_conflicts
from vegrt.infer.runtimes.open import Candidate, candidates, describe, open_candidate
from vegrt.infer.runtimes.runner import Runner
from vegrt.terminal.progress import track

BATCH = 32


@dataclass(frozen=True, slots=True)
class Collected:
    """One pass over a split: each candidate loaded, its (N, K) logits, the positions of the N photos, why others were skipped."""

    runners: dict[Candidate, Runner]
    logits: dict[Candidate, NDArray[np.float32]]
    kept: list[int]
    errors: list[str]


def candidates_to_evaluate(bundle: Bundle, runtime: str | None = None, *, torch: bool = True) -> list[Candidate]:
    """Return what `candidates` returns and, where torch is installed, the checkpoint that fp32.onnx was made from."""
    found = candidates(bundle, runtime)
    checkpoint = Candidate("fp32", "torch")
    wanted = torch and runtime is None and bundle.has("weights") and is_installed("torch")
    return [*found, checkpoint] if wanted and found else found


def evaluate(
    bundle: Bundle,
    split: Split,
    chosen: list[Candidate],
    *,
    margin: float | None,
    leaked: Collection[str] | None = None,
    table: Path | None = None,
) -> dict[str, Any]:
    """Return the body of an evaluation result (docs/results-format.md).

    chosen: the first is the reference that the others are compared with. margin: of the gate, in percentage points;
    None: the least that the readable photos can decide.
    leaked: photos, as `Split.relative` names them, without which every figure is given a second time; None: no audit.
    table: where to write every photo's logits as Parquet, if pyarrow is installed.
    Raises DataError when the split's classes are not the bundle's, when no photo is readable, and for labels that are permuted or
    shuffled; BundleError when the manifest contradicts its models; ModelError for a model that wants BGR.
    """
    if split.classes != bundle.manifest.classes:
        trained = ", ".join(bundle.manifest.classes)
        raise DataError(f"{split.root}: classes {', '.join(split.classes)}; {bundle.path} was trained on {trained}")
    if contradictions := metadata_conflicts(bundle).conflicts:
        raise BundleError(f"{bundle.path}: {contradictions[0]}; restore manifest.json or export again")
    collected = collect_logits(bundle, split, chosen)
    warn_unreadable(collected.errors, len(split))
    kept, logits = collected.kept, collected.logits
    if not kept:
        raise DataError(f"{split.root}: none of {len(split)} photos is readable; nothing to evaluate")
    labels, names = _labels(split, kept), _names(split, kept)
    subject = DiagnosisSubject(bundle, split, kept, Answers.of(logits[chosen[0]], labels))
    check_labels(subject, collected.runners[chosen[0]])
    body = judged(bundle, split, kept, logits, margin=margin, leaked=leaked)
    for candidate, row in zip(chosen, body["candidates"], strict=True):
        if row["gate"]["verdict"] == "FAIL":
            answers, runner = Answers.of(logits[candidate], labels), collected.runners[candidate]
            cause = explained(partial(candidate_cause, subject, answers, runner))
            row["gate"]["reason"] += f"; {cause}" if cause else ""
    if table is not None:
        write_table(table, names, labels, logits, split.classes)
    left_out = [asdict(one) for one in not_run(bundle, chosen)]
    return {"unreadable": collected.errors, "not_run": left_out, **body}


def judged(
    bundle: Bundle,
    split: Split,
    kept: list[int],
    logits: Mapping[Candidate, NDArray[np.float32]],
    *,
    margin: float | None,
    leaked: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return the result's figures. kept: the positions of the photos that the (N, K) logits are of; the first is the
    reference.
    """
    labels, names = _labels(split, kept), _names(split, kept)
    clean = None if leaked is None else np.array([name not in leaked for name in names])
    rows = [describe(bundle, candidate) for candidate in logits]
    gated = Margin.of(margin, len(kept))
    for row, figures in zip(rows, _figures(logits, labels, gated), strict=True):
        row.update(figures)
    if clean is not None and clean.any():
        subset = {candidate: values[clean] for candidate, values in logits.items()}
        for row, figures in zip(rows, _figures(subset, labels[clean], gated), strict=True):
            row["without_leaks"] = figures
    answers = {candidate: Answers.of(values, labels) for candidate, values in logits.items()}
    return {
        "split": split.name,
        "data_fingerprint": split.fingerprint(),
        "images": len(kept),
        "leaked": None if clean is None else int((~clean).sum()),
        "classes": list(split.classes),
        "margin_points": gated.points,
        "margin_auto": gated.auto,
        "decidable_margin_points": gated.decidable,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "candidates": rows,
        "predictions": predictions(names, labels, answers),
    }


def collect_logits(bundle: Bundle, split: Split, chosen: list[Candidate]) -> Collected:
    """Return what every candidate says of all readable photos of a split, which are decoded once."""
    if not chosen:
        raise nothing_runs(bundle)
    runners: dict[Candidate, Runner] = {candidate: open_candidate(bundle, candidate) for candidate in chosen}
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
    logits_of = {one: np.concatenate(rows) for one, rows in parts.items() if rows}
    return Collected(runners, logits_of, kept, errors)


def _figures(
    logits: Mapping[Candidate, NDArray[np.float32]], labels: NDArray[np.int_], margin: Margin
) -> list[dict[str, Any]]:
    """Return all figures of every candidate's (N, K) logits; the first candidate is the reference."""
    resamples = Resamples(len(labels))
    first = next(iter(logits))
    reference = Answers.of(logits[first], labels)
    rows = []
    for candidate, values in logits.items():
        answers = reference if candidate == first else Answers.of(values, labels)
        paired = paired_figures(reference, answers, resamples)
        verdict = reference_gate() if candidate == first else _verdict(candidate, reference, answers, paired, margin)
        rows.append({**figures_of(answers, resamples), "paired": paired, "gate": verdict})
    return rows


def _verdict(
    candidate: Candidate, reference: Answers, answers: Answers, paired: dict[str, Any], margin: Margin
) -> dict[str, Any]:
    """Return the gate's verdict on a candidate. Of the checkpoint the question is what fp32.onnx lost against it."""
    if candidate.runtime != "torch":
        return gate(paired, len(answers.labels), margin)
    found = gate(compare(answers.top1, reference.top1, answers.labels), len(answers.labels), margin)
    return found | {"reason": f"from the checkpoint to the reference: {found['reason']}"}


def _labels(split: Split, kept: list[int]) -> NDArray[np.int_]:
    return np.array([split.photos[index].label for index in kept])


def _names(split: Split, kept: list[int]) -> list[str]:
    return [split.relative(split.photos[index]) for index in kept]


def worst_verdict(body: Mapping[str, Any]) -> str:
    """Return FAIL if any candidate failed, else INCONCLUSIVE if any is or none was judged, else PASS."""
    verdicts = {row["gate"]["verdict"] for row in body["candidates"]}
    found = next((verdict for verdict in ("FAIL", "INCONCLUSIVE", "PASS") if verdict in verdicts), None)
    return found or "INCONCLUSIVE"
