"""Evaluation: every candidate on the same decoded images, each compared with fp32 by paired statistics."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split, warn_unreadable
from vegrt.errors import BundleError, DataError, ModelError, VegrtError
from vegrt.evaluate.coverage import not_run
from vegrt.evaluate.diagnose import DiagnosisSubject, check_labels, find_causes, try_explain
from vegrt.evaluate.figures import LabelledAnswers, figures_of
from vegrt.evaluate.paired import Margin, compare_answers, compare_top1, gate
from vegrt.evaluate.predictions import collect_predictions, write_table
from vegrt.evaluate.resampling import RESAMPLES, Resamples
from vegrt.evaluate.selection import Selection, select_candidates
from vegrt.evaluate.statistics import CONFIDENCE
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.runtimes.candidates import Candidate, artifact_of, candidate_row, nothing_runs, reference_candidate
from vegrt.infer.runtimes.host import gpu_name, is_installed
from vegrt.infer.runtimes.onnx_file import metadata_conflicts
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Runner
from vegrt.results.convert import fields_of
from vegrt.results.evaluation import CandidateResult, Evaluation, Figures, Gate, Paired
from vegrt.results.header import header_fields
from vegrt.terminal.progress import track

log = logging.getLogger(__name__)

BATCH = 32


@dataclass(frozen=True, slots=True)
class CollectedLogits:
    """The result of one pass over a split.

    runners, logits: by candidate; logits are (N, K). readable: positions in the split of the N readable photos. errors: the
    reasons why the other photos were skipped. failed: errors of candidates that could not be loaded, by path of the artifact.
    """

    runners: dict[Candidate, Runner]
    logits: dict[Candidate, NDArray[np.float32]]
    readable: list[int]
    errors: list[str]
    failed: dict[str, str]


def candidates_to_evaluate(
    bundle: Bundle, selection: Selection | None = None, *, torch: bool = True
) -> list[Candidate]:
    """Return the selected candidates, behind the reference that all of them are compared with.

    If PyTorch is installed and all candidates are selected, the checkpoint from which fp32.onnx was exported comes last.
    """
    selection = selection or Selection()
    selected = select_candidates(bundle, selection)
    reference = reference_candidate(bundle, selected)
    chosen = [*([reference] if reference else []), *(candidate for candidate in selected if candidate != reference)]
    with_checkpoint = torch and selection.is_all and bundle.has("weights") and is_installed("torch")
    return [*chosen, Candidate("fp32", "torch")] if with_checkpoint else chosen


def evaluate(
    bundle: Bundle,
    split: Split,
    chosen: list[Candidate],
    *,
    margin: float | None,
    leaked: Collection[str] | None = None,
    table: Path | None = None,
    gpu_required: bool = True,
) -> Evaluation:
    """Return the evaluation of candidates on a split.

    chosen: the candidates; the first is the reference. margin: of the gate, in percentage points; None: the smallest margin that
    the readable photos can decide. leaked: names of photos, as from `Split.relative`; all figures are also computed without them;
    None: no audit. table: Parquet file to write every photo's logits to, if pyarrow is installed. gpu_required: whether a
    candidate on a GPU that cannot be loaded ends the evaluation; else it is listed as not run.
    Raises DataError when the split's classes differ from the bundle's, when no photo is readable, and for permuted or shuffled
    labels; BundleError when the manifest contradicts its models; ModelError for a model that expects BGR.
    """
    check_split(bundle, split)
    collected = collect_logits(bundle, split, chosen, gpu_required=gpu_required)
    warn_unreadable(collected.errors, len(split))
    readable, logits = collected.readable, collected.logits
    if not readable:
        raise DataError(f"{split.root}: none of {len(split)} photos is readable; nothing to evaluate")
    labels, names = _labels(split, readable), _names(split, readable)
    subject = DiagnosisSubject(bundle, split, readable, LabelledAnswers.of(logits[chosen[0]], labels))
    check_labels(subject, collected.runners[chosen[0]])
    evaluation = evaluate_logits(bundle, split, readable, logits, margin=margin, leaked=leaked)
    rows = list(evaluation.candidates)
    for index, candidate in enumerate(logits):
        if rows[index].gate.verdict == "FAIL":
            answers, runner = LabelledAnswers.of(logits[candidate], labels), collected.runners[candidate]
            causes = try_explain(partial(find_causes, subject, answers, runner)) or ()
            rows[index] = replace(rows[index], gate=replace(rows[index].gate, causes=causes))
    if table is not None:
        write_table(table, names, labels, logits, split.classes)
    return replace(
        evaluation,
        unreadable=tuple(collected.errors),
        not_run=tuple(not_run(bundle, logits, failed=collected.failed)),
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
        **header_fields(bundle, Evaluation.KIND, gpu=gpu_name(candidate.device for candidate in logits)),
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


def collect_logits(
    bundle: Bundle, split: Split, chosen: list[Candidate], *, gpu_required: bool = True
) -> CollectedLogits:
    """Return every candidate's logits for all readable photos of a split; each photo is decoded once."""
    if not chosen:
        raise nothing_runs(bundle)
    runners, failed = _open_all(bundle, chosen, gpu_required=gpu_required)
    parts: dict[Candidate, list[NDArray[np.float32]]] = {candidate: [] for candidate in runners}
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
    return CollectedLogits(runners, collected_logits, readable, errors, failed)


def _open_all(
    bundle: Bundle, chosen: Sequence[Candidate], *, gpu_required: bool
) -> tuple[dict[Candidate, Runner], dict[str, str]]:
    """Return the runners, and the errors of those that could not be loaded, by the path of their artifact."""
    runners: dict[Candidate, Runner] = {}
    failed: dict[str, str] = {}
    for candidate in chosen:
        try:
            runners[candidate] = open_candidate(bundle, candidate)
        except VegrtError as error:
            if gpu_required or candidate.device == "cpu":
                raise
            log.warning("%s cannot be loaded here and is not evaluated (%s)", candidate, error)
            failed[artifact_of(bundle, candidate).path] = str(error)
    return runners, failed


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
