"""Evaluation: every candidate on the same decoded images, each compared with fp32 by paired statistics."""

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
from vegrt.evaluate.diagnose import DiagnosisSubject, check_labels, find_causes, try_explain
from vegrt.evaluate.figures import LabelledAnswers, figures_of
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
class CollectedLogits:
    """The result of one pass over a split.

    runners, logits: by candidate; logits are (N, K). readable: positions in the split of the N readable photos. errors: the
    reasons why the other photos were skipped.
    """

    runners: dict[Candidate, Runner]
    logits: dict[Candidate, NDArray[np.float32]]
    readable: list[int]
    errors: list[str]


def candidates_to_evaluate(bundle: Bundle, runtime: str | None = None, *, torch: bool = True) -> list[Candidate]:
    """Return the bundle's candidates and, if PyTorch is installed, the checkpoint from which fp32.onnx was exported."""
    runnable = candidates(bundle, runtime)
    with_checkpoint = torch and runtime is None and bundle.has("weights") and is_installed("torch")
    return [*runnable, Candidate("fp32", "torch")] if with_checkpoint and runnable else runnable


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

    chosen: the candidates; the first is the reference. margin: of the gate, in percentage points; None: the smallest margin that
    the readable photos can decide. leaked: names of photos, as from `Split.relative`; all figures are also computed without them;
    None: no audit. table: Parquet file to write every photo's logits to, if pyarrow is installed.
    Raises DataError when the split's classes differ from the bundle's, when no photo is readable, and for permuted or shuffled
    labels; BundleError when the manifest contradicts its models; ModelError for a model that expects BGR.
    """
    check_split(bundle, split)
    collected = collect_logits(bundle, split, chosen)
    warn_unreadable(collected.errors, len(split))
    readable, logits = collected.readable, collected.logits
    if not readable:
        raise DataError(f"{split.root}: none of {len(split)} photos is readable; nothing to evaluate")
    labels, names = _labels(split, readable), _names(split, readable)
    subject = DiagnosisSubject(bundle, split, readable, LabelledAnswers.of(logits[chosen[0]], labels))
    check_labels(subject, collected.runners[chosen[0]])
    evaluation = evaluate_logits(bundle, split, readable, logits, margin=margin, leaked=leaked)
    rows = list(evaluation.candidates)
    for index, candidate in enumerate(chosen):
        if rows[index].gate.verdict == "FAIL":
            answers, runner = LabelledAnswers.of(logits[candidate], labels), collected.runners[candidate]
            causes = try_explain(partial(find_causes, subject, answers, runner)) or ()
            rows[index] = replace(rows[index], gate=replace(rows[index].gate, causes=causes))
    if table is not None:
        write_table(table, names, labels, logits, split.classes)
    return replace(
        evaluation,
        unreadable=tuple(collected.errors),
        not_run=tuple(not_run(bundle, chosen)),
        candidates=tuple(rows),
    )


def check_split(bundle: Bundle, split: Split) -> None:
    """Raise DataError if the split's classes differ from the bundle's, BundleError if the manifest contradicts its models."""
    if split.classes != bundle.manifest.classes:
        trained = ", ".join(bundle.manifest.classes)
        raise DataError(f"{split.root}: classes {', '.join(split.classes)}; {bundle.path} was trained on {trained}")
    if conflicts := metadata_conflicts(bundle).conflicts:
        raise BundleError(f"{bundle.path}: {conflicts[0]}; restore manifest.json or export again")


def evaluate_logits(
    bundle: Bundle,
    split: Split,
    readable: list[int],
    logits: Mapping[Candidate, NDArray[np.float32]],
    *,
    margin: float | None,
    leaked: Collection[str] | None = None,
) -> Evaluation:
    """Return the evaluation of (N, K) logits; the first candidate is the reference. readable: positions of the N photos."""
    labels, names = _labels(split, readable), _names(split, readable)
    clean = None if leaked is None else np.array([name not in leaked for name in names])
    gate_margin = Margin.of(margin, len(readable))
    figures = _figures(logits, labels, gate_margin)
    without_leaks: Sequence[Figures | None] = [None] * len(figures)
    if clean is not None and clean.any():
        clean_logits = {candidate: values[clean] for candidate, values in logits.items()}
        without_leaks = _figures(clean_logits, labels[clean], gate_margin)
    return Evaluation(
        **header_fields(bundle, Evaluation.KIND),
        split=split.name,
        data_fingerprint=split.fingerprint(),
        images=len(readable),
        leaked=None if clean is None else int((~clean).sum()),
        classes=tuple(split.classes),
        margin_points=gate_margin.points,
        margin_auto=gate_margin.auto,
        decidable_margin_points=gate_margin.decidable,
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
        candidates=tuple(
            CandidateResult(
                **fields_of(candidate_row(bundle, candidate)), **fields_of(all_photos), without_leaks=clean_photos
            )
            for candidate, all_photos, clean_photos in zip(logits, figures, without_leaks, strict=True)
        ),
        predictions=collect_predictions(
            names, labels, {candidate: LabelledAnswers.of(values, labels) for candidate, values in logits.items()}
        ),
    )


def collect_logits(bundle: Bundle, split: Split, chosen: list[Candidate]) -> CollectedLogits:
    """Return every candidate's logits for all readable photos of a split; each photo is decoded once."""
    if not chosen:
        raise nothing_runs(bundle)
    runners: dict[Candidate, Runner] = {candidate: open_candidate(bundle, candidate) for candidate in chosen}
    parts: dict[Candidate, list[NDArray[np.float32]]] = {candidate: [] for candidate in chosen}
    readable: list[int] = []
    errors: list[str] = []
    paths = [photo.path for photo in split.photos]
    total = -(-len(paths) // BATCH)
    for batch in track(batches(paths, bundle.manifest.contract, BATCH), f"Evaluating {split.name}", total):
        readable += batch.indices
        errors += [reason for _, reason in batch.errors]
        for candidate, runner in runners.items() if batch.indices else ():
            logits = runner.logits(batch.images)
            if not np.isfinite(logits).all():
                raise ModelError(f"{bundle.path}: {candidate} gives logits that are not finite; export it again")
            parts[candidate].append(logits)
    collected_logits = {candidate: np.concatenate(rows) for candidate, rows in parts.items() if rows}
    return CollectedLogits(runners, collected_logits, readable, errors)


def _figures(
    logits: Mapping[Candidate, NDArray[np.float32]], labels: NDArray[np.int_], margin: Margin
) -> list[Figures]:
    """Return all figures of every candidate's (N, K) logits; the first candidate is the reference."""
    resamples = Resamples(len(labels))
    first = next(iter(logits))
    reference = LabelledAnswers.of(logits[first], labels)
    rows = []
    for candidate, values in logits.items():
        answers = reference if candidate == first else LabelledAnswers.of(values, labels)
        paired = compare_answers(reference, answers, resamples)
        verdict = Gate("REFERENCE") if candidate == first else _judge(candidate, reference, answers, paired, margin)
        rows.append(Figures(**fields_of(figures_of(answers, resamples)), paired=paired, gate=verdict))
    return rows


def _judge(
    candidate: Candidate, reference: LabelledAnswers, answers: LabelledAnswers, paired: Paired, margin: Margin
) -> Gate:
    """Return the gate's verdict on a candidate. For the checkpoint, the verdict is on fp32.onnx's drop against it."""
    if candidate.runtime != "torch":
        return gate(paired, len(answers.labels), margin)
    export_loss = compare_top1(answers.top1, reference.top1, answers.labels)
    return replace(gate(export_loss, len(answers.labels), margin), judged_drop=export_loss.drop)


def _labels(split: Split, readable: list[int]) -> NDArray[np.int_]:
    return np.array([split.photos[index].label for index in readable])


def _names(split: Split, readable: list[int]) -> list[str]:
    return [split.relative(split.photos[index]) for index in readable]
