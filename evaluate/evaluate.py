"""Evaluation: every candidate on the same decoded images, each compared with fp32 by paired statistics."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.classes import MAX_LISTED, listed_classes
from vegrt.dataset.photos import Split, warn_unreadable
from vegrt.errors import BundleError, DataError
from vegrt.evaluate.collect import CollectedAnswers, Logits, answers_of, collect_answers
from vegrt.evaluate.coverage import not_run
from vegrt.evaluate.device.answers import AnswerSource, DeviceAnswers
from vegrt.evaluate.device.faults import diagnose_device
from vegrt.evaluate.diagnose import DiagnosisSubject, check_labels, find_causes, try_explain
from vegrt.evaluate.figures import LabelledAnswers, figures_of
from vegrt.evaluate.many_classes import shortened, without_classes
from vegrt.evaluate.paired import Margin, compare_answers, compare_top1, gate
from vegrt.evaluate.predictions import collect_predictions, write_table
from vegrt.evaluate.resampling import RESAMPLES, Resamples
from vegrt.evaluate.selection import Selection, select_candidates
from vegrt.evaluate.statistics import CONFIDENCE
from vegrt.infer.runtimes.candidates import Candidate, candidate_row, reference_candidate
from vegrt.infer.runtimes.host import gpu_name, is_installed
from vegrt.infer.runtimes.onnx_file import metadata_conflicts
from vegrt.results.common import CandidateRow
from vegrt.results.convert import fields_of
from vegrt.results.evaluation import MAX_DENSE_CLASSES, CandidateResult, Evaluation, Figures, Gate, Paired
from vegrt.results.header import header_fields

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """Sizes above which an evaluation stores less.

    logits_bytes: of the logits of all candidates; above it the table has none. dense_classes: above it confusion matrices are
    lists of their cells, figures of single classes have six digits, and there are none without the leaked photos.
    """

    logits_bytes: int = 128 << 20
    dense_classes: int = MAX_DENSE_CLASSES


LIMITS = SizeLimits()


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
    devices: Sequence[DeviceAnswers] = (),
    leaked: Collection[str] | None = None,
    table: Path | None = None,
    gpu_required: bool = True,
    limits: SizeLimits = LIMITS,
) -> Evaluation:
    """Return the evaluation of candidates on a split.

    chosen: the candidates; the first is the reference. devices: answers made elsewhere, compared with it in the same way.
    margin: of the gate, in percentage points; None: the smallest margin that the readable photos can decide. leaked: names
    of photos, as from `Split.relative`; all figures are also computed without them; None: no audit. table: Parquet file to write
    every photo's logits to, if pyarrow is installed and the limits allow it.
    gpu_required: whether a candidate on a GPU that cannot be loaded ends the evaluation; else it is listed as not run.
    Raises DataError when the split's classes differ from the bundle's, when no photo is readable, and for permuted or shuffled
    labels; BundleError when the manifest contradicts its models; ModelError for a model that expects BGR.
    """
    check_split(bundle, split)
    logits_bytes = 4 * len(split) * len(split.classes) * len(chosen)
    with_logits = table is not None and logits_bytes <= limits.logits_bytes
    collected = collect_answers(
        bundle, split, chosen, devices=devices, gpu_required=gpu_required, with_logits=with_logits
    )
    warn_unreadable(collected.errors, len(split))
    readable, answers = collected.readable, collected.answers
    if not readable:
        raise DataError(f"{split.root}: none of {len(split)} photos is readable; nothing to evaluate")
    subject = DiagnosisSubject(bundle, split, readable, answers[chosen[0]])
    check_labels(subject, collected.runners[chosen[0]])
    evaluation = evaluate_answers(bundle, split, readable, answers, margin=margin, leaked=leaked, limits=limits)
    rows = [
        replace(row, gate=_explained(subject, collected, source, row))
        for source, row in zip(answers, evaluation.candidates, strict=True)
    ]
    if table is not None:
        _write_or_remove(table, _names(split, readable), collected, split.classes)
    return replace(
        evaluation,
        unreadable=tuple(collected.errors),
        not_run=tuple(not_run(bundle, _candidates(answers), failed=collected.failed)),
        candidates=tuple(rows),
    )


def _explained(subject: DiagnosisSubject, collected: CollectedAnswers, source: AnswerSource, row: Figures) -> Gate:
    """Return the gate of a row with the likely causes of its verdict."""
    answers, runners = collected.answers[source], collected.runners
    if isinstance(source, DeviceAnswers):
        reference = next(iter(runners.values()))
        return try_explain(partial(diagnose_device, subject, answers, row, reference)) or row.gate
    if row.gate.verdict != "FAIL":
        return row.gate
    return replace(row.gate, causes=try_explain(partial(find_causes, subject, answers, runners[source])) or ())


def _write_or_remove(table: Path, names: Sequence[str], collected: CollectedAnswers, classes: Sequence[str]) -> None:
    """Write the table of logits; without logits, remove that of an earlier evaluation."""
    if collected.logits:
        write_table(table, names, collected.answers, collected.logits, classes)
        return
    table.unlink(missing_ok=True)
    log.info("%s is not written: the logits of %d photos are too many", table.name, len(names))


def check_split(bundle: Bundle, split: Split) -> None:
    """Raise DataError if the split's classes differ from the bundle's, BundleError if the manifest contradicts its models."""
    if split.classes != bundle.manifest.classes:
        trained, labelled = bundle.manifest.classes, split.classes
        if len(trained) > MAX_LISTED:  # the first ones may be the same
            trained = tuple(sorted({*trained} - {*labelled})) or trained
            labelled = tuple(sorted({*labelled} - {*bundle.manifest.classes})) or labelled
        raise DataError(
            f"{split.root}: classes {listed_classes(labelled)}; {bundle.path} was trained on {listed_classes(trained)}"
        )
    if conflicts := metadata_conflicts(bundle).conflicts:
        raise BundleError(f"{bundle.path}: {conflicts[0]}; restore manifest.json or export again")


def evaluate_logits(
    bundle: Bundle,
    split: Split,
    readable: list[int],
    logits: Logits,
    *,
    margin: float | None,
    leaked: Collection[str] | None = None,
    limits: SizeLimits = LIMITS,
) -> Evaluation:
    """Return the evaluation of (N, K) logits; the first candidate is the reference. readable: positions of the N photos."""
    answers = answers_of(logits, np.array([split.photos[index].label for index in readable]))
    return evaluate_answers(bundle, split, readable, answers, margin=margin, leaked=leaked, limits=limits)


def evaluate_answers(
    bundle: Bundle,
    split: Split,
    readable: list[int],
    answers: Mapping[AnswerSource, LabelledAnswers],
    *,
    margin: float | None,
    leaked: Collection[str] | None = None,
    limits: SizeLimits = LIMITS,
) -> Evaluation:
    """Return the evaluation of collected answers; the first candidate is the reference. readable: positions of the N photos."""
    names = _names(split, readable)
    clean = None if leaked is None else np.array([name not in leaked for name in names])
    gate_margin = Margin.of(margin, len(readable))
    figures = _figures(answers, gate_margin, limits)
    without_leaks: Sequence[Figures | None] = [None] * len(figures)
    if clean is not None and clean.any():
        clean_answers = {candidate: columns[clean] for candidate, columns in answers.items()}
        without_leaks = _figures(clean_answers, gate_margin, limits)
    if len(split.classes) > limits.dense_classes:
        figures = [shortened(row) for row in figures]
        without_leaks = [row and without_classes(row) for row in without_leaks]
    return Evaluation(
        **header_fields(bundle, Evaluation.KIND, gpu=gpu_name(candidate.device for candidate in _candidates(answers))),
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
            CandidateResult(**fields_of(_row(bundle, source)), **fields_of(all_photos), without_leaks=clean_photos)
            for source, all_photos, clean_photos in zip(answers, figures, without_leaks, strict=True)
        ),
        predictions=collect_predictions(names, answers),
    )


def _candidates(sources: Iterable[AnswerSource]) -> list[Candidate]:
    """Return the sources without the devices."""
    return [source for source in sources if isinstance(source, Candidate)]


def _row(bundle: Bundle, source: AnswerSource) -> CandidateRow:
    return candidate_row(bundle, source) if isinstance(source, Candidate) else source.row()


def _figures(answers: Mapping[AnswerSource, LabelledAnswers], margin: Margin, limits: SizeLimits) -> list[Figures]:
    """Return all figures of every candidate's answers; the first candidate is the reference."""
    (first, reference), *_ = answers.items()
    resamples = Resamples(len(reference.labels))
    rows = []
    for candidate, columns in answers.items():
        paired = compare_answers(reference, columns, resamples)
        verdict = Gate("REFERENCE") if candidate == first else _judge(candidate, reference, columns, paired, margin)
        own = figures_of(columns, resamples, max_dense_classes=limits.dense_classes)
        rows.append(Figures(**fields_of(own), paired=paired, gate=verdict))
    return rows


def _judge(
    candidate: AnswerSource, reference: LabelledAnswers, answers: LabelledAnswers, paired: Paired, margin: Margin
) -> Gate:
    """Return the gate's verdict on a candidate. For the checkpoint, the verdict is on fp32.onnx's drop against it."""
    if isinstance(candidate, DeviceAnswers) or candidate.runtime != "torch":
        return gate(paired, len(answers.labels), margin)
    export_loss = compare_top1(answers.top1, reference.top1, answers.labels)
    return replace(gate(export_loss, len(answers.labels), margin), judged_drop=export_loss.drop)


def _names(split: Split, readable: list[int]) -> list[str]:
    return [split.relative(split.photos[index]) for index in readable]
