"""Evaluation: every candidate over one pass of decoded images, judged pair by pair against fp32."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split, warn_unreadable
from vegrt.errors import BundleError, DataError, ModelError
from vegrt.evaluate.coverage import not_run
from vegrt.evaluate.diagnose import DiagnosisSubject, check_labels, explained, find_causes
from vegrt.evaluate.figures import Answers, figures_of
from vegrt.evaluate.paired import Margin, compare_answers, compare_top1, gate
from vegrt.evaluate.predictions import collect_predictions, write_table
from vegrt.evaluate.resampling import RESAMPLES, Resamples
from vegrt.evaluate.statistics import CONFIDENCE
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.runtimes.candidates import Candidate, candidate_row, candidates, is_installed, nothing_runs
from vegrt.infer.runtimes.onnx_file import metadata_conflicts
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Runner
from vegrt.results.convert import fields_of
from vegrt.results.evaluation import CandidateResult, Evaluation, Figures, Gate, Paired
from vegrt.results.header import header_fields
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
) -> Evaluation:
    """Return the evaluation of candidates on a split.

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
    evaluation = judged(bundle, split, kept, logits, margin=margin, leaked=leaked)
    rows = list(evaluation.candidates)
    for index, candidate in enumerate(chosen):
        if rows[index].gate.verdict == "FAIL":
            answers, runner = Answers.of(logits[candidate], labels), collected.runners[candidate]
            causes = explained(partial(find_causes, subject, answers, runner)) or ()
            rows[index] = replace(rows[index], gate=replace(rows[index].gate, causes=causes))
    if table is not None:
        write_table(table, names, labels, logits, split.classes)
    return replace(
        evaluation,
        unreadable=tuple(collected.errors),
        not_run=tuple(not_run(bundle, chosen)),
        candidates=tuple(rows),
    )


def judged(
    bundle: Bundle,
    split: Split,
    kept: list[int],
    logits: Mapping[Candidate, NDArray[np.float32]],
    *,
    margin: float | None,
    leaked: Collection[str] | None = None,
) -> Evaluation:
    """Return the evaluation of (N, K) logits, the reference's first. kept: positions of their N photos in the split."""
    labels, names = _labels(split, kept), _names(split, kept)
    clean = None if leaked is None else np.array([name not in leaked for name in names])
    gated = Margin.of(margin, len(kept))
    figures = _figures(logits, labels, gated)
    without_leaks: Sequence[Figures | None] = [None] * len(figures)
    if clean is not None and clean.any():
        without_leaks = _figures({one: values[clean] for one, values in logits.items()}, labels[clean], gated)
    return Evaluation(
        **header_fields(bundle, Evaluation.KIND),
        split=split.name,
        data_fingerprint=split.fingerprint(),
        images=len(kept),
        leaked=None if clean is None else int((~clean).sum()),
        classes=tuple(split.classes),
        margin_points=gated.points,
        margin_auto=gated.auto,
        decidable_margin_points=gated.decidable,
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
        candidates=tuple(
            CandidateResult(**fields_of(candidate_row(bundle, candidate)), **fields_of(own), without_leaks=clean_own)
            for candidate, own, clean_own in zip(logits, figures, without_leaks, strict=True)
        ),
        predictions=collect_predictions(
            names, labels, {candidate: Answers.of(values, labels) for candidate, values in logits.items()}
        ),
    )


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
) -> list[Figures]:
    """Return all figures of every candidate's (N, K) logits; the first candidate is the reference."""
    resamples = Resamples(len(labels))
    first = next(iter(logits))
    reference = Answers.of(logits[first], labels)
    rows = []
    for candidate, values in logits.items():
        answers = reference if candidate == first else Answers.of(values, labels)
        paired = compare_answers(reference, answers, resamples)
        verdict = Gate("REFERENCE") if candidate == first else _judge(candidate, reference, answers, paired, margin)
        rows.append(Figures(**fields_of(figures_of(answers, resamples)), paired=paired, gate=verdict))
    return rows


def _judge(candidate: Candidate, reference: Answers, answers: Answers, paired: Paired, margin: Margin) -> Gate:
    """Return the gate's verdict on a candidate. For the checkpoint the question is what fp32.onnx lost against it."""
    if candidate.runtime != "torch":
        return gate(paired, len(answers.labels), margin)
    export_loss = compare_top1(answers.top1, reference.top1, answers.labels)
    return replace(gate(export_loss, len(answers.labels), margin), judged_drop=export_loss.drop)


def _labels(split: Split, kept: list[int]) -> NDArray[np.int_]:
    return np.array([split.photos[index].label for index in kept])


def _names(split: Split, kept: list[int]) -> list[str]:
    return [split.relative(split.photos[index]) for index in kept]
