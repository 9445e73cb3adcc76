"""The charts of a bundle's report with their labels and captions. A chart without data is omitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from vegrt.report.answers import CLEAN, corruption_name
from vegrt.report.charts.answers import (
    MAX_CLASSES_BESIDE,
    MAX_CLASSES_DRAWN,
    confusion_spec,
    flips_per_class_spec,
    mistakes_of,
    most_confused,
    reliability_spec,
    robustness_spec,
)
from vegrt.report.charts.calibration import sensitivity_spec, tournament_spec
from vegrt.report.charts.speed import accuracy_latency_spec, bundles_latency_spec, stage_times_spec, throughput_spec
from vegrt.report.charts.training import training_curve_spec
from vegrt.report.charts.trust import risk_coverage_spec
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Chart, Spec
from vegrt.report.language.language import translate
from vegrt.report.speed import limits_per_s
from vegrt.report.summary import SummaryRow, summary_rows_on
from vegrt.results.analysis import Robustness, RobustnessRow, Sensitivity
from vegrt.results.benchmark import Bench
from vegrt.results.common import Interval
from vegrt.results.evaluation import Evaluation, reference_and

_MAX_PANELS = 6
_NARROW_PX, _PANEL_PX, _WIDE_PX = 288, 416, 720


def bundle_charts(facts: Facts, chosen: SummaryRow | None) -> dict[str, Chart]:
    """Return the charts by name, which is also that of their picture file. chosen: the candidate that the verdict is about."""
    charts: Iterable[Chart | None] = (
        accuracy_latency_chart(facts),
        throughput_chart(facts.benches()),
        stage_times_chart(facts),
        _flips_per_class_chart(facts),
        confusion_chart(facts.evaluation, _key(chosen)),
        _reliability_chart(facts, chosen),
        _risk_coverage_chart(facts, chosen),
        robustness_chart(facts.robustness, _key(chosen)),
        *training_charts(facts.bundle.manifest.training),
        tournament_chart(facts.bundle.manifest.calibration),
        sensitivity_chart(facts.sensitivity),
    )
    return {chart.name: chart for chart in charts if chart is not None}


def accuracy_latency_chart(facts: Facts) -> Chart | None:
    """Return top-1 accuracy against latency, a panel for each machine."""
    if not facts.evaluation:
        return None
    rows = {name: _placeable(facts, bench) for name, bench in facts.benches().items()}
    rows = {name: placeable for name, placeable in rows.items() if placeable}
    margin = facts.evaluation.margin_points
    panels = [
        accuracy_latency_spec(placeable, margin, title=name if len(rows) > 1 else "")
        for name, placeable in rows.items()
    ]
    caption = translate(
        "Up and left is better. Bars: {confidence} intervals. Thin line: Pareto front. Dashed line: the gate's margin; the "
        "gate compares the same photos in pairs, so its verdict does not follow from these bars.",
        confidence=f"{facts.evaluation.confidence:.0%}",
    )
    return _chart("accuracy-latency", panels, translate("Top-1 accuracy against median latency of one photo"), caption)


def _placeable(facts: Facts, bench: Bench) -> list[SummaryRow]:
    """Return the rows with both an accuracy and a latency."""
    return [row for row in summary_rows_on(facts, bench) if row.top1 is not None and row.p50_ms]


def throughput_chart(benches: Mapping[str, Bench]) -> Chart | None:
    """Return photos per second against batch size, a panel for each machine. benches: by the name of the machine."""
    panels = [
        throughput_spec(bench.candidates, limits_per_s(bench), title=name if len(benches) > 1 else "")
        for name, bench in benches.items()
        if bench.candidates
    ]
    caption = translate("The network only, with its input in memory. Larger batches help until all cores are busy.")
    if any(map(limits_per_s, benches.values())):
        line = translate("Dashed lines: what the CPU can multiply, as photos per second of this network.")
        caption = f"{caption} {line}"
    return _chart("throughput", panels, translate("Photos per second against batch size"), caption)


def stage_times_chart(facts: Facts) -> Chart | None:
    """Return the time of each stage from JPEG to label, a panel for single photos and one for the largest batches."""
    measured = [(row.key, row.stages_ms) for row in facts.measured() if row.stages_ms]
    single = [(key, times) for key, stages in measured for times in stages if times.batch == 1]
    largest = [(key, max(stages, key=lambda times: times.batch)) for key, stages in measured]
    panels = [stage_times_spec(single, title=translate("one photo at a time"))] if single else []
    if any(
        times.batch > 1 for _, times in largest
    ):  # then show all of them, also those whose best batch is a single photo
        title = translate("best batch size of each candidate (× photos)")
        panels.append(stage_times_spec(largest, title=title, with_batch=True))
    caption = translate(
        "From the JPEG file to the label: decode the file, prepare the batch, run the network, post-process the output. Each "
        "value is a median, so their sum may differ from the end-to-end median."
    )
    return _chart("stage-times", panels, translate("Time of each stage, by candidate"), caption)


def _flips_per_class_chart(facts: Facts) -> Chart | None:
    """Return newly wrong and newly right photos of each class, a panel for each candidate with flips, in descending order."""
    if not facts.evaluation:
        return None
    classes = facts.evaluation.classes
    changes = {row.key: facts.class_changes(row.key) for row in facts.evaluated()[1:]}
    changed = {key: counts for key, counts in changes.items() if any(map(any, counts))}
    keys = sorted(changed, key=lambda key: -sum(map(sum, changed[key])))[:_MAX_PANELS]
    most = {number: max(sum(changed[key][number]) for key in keys) for number in range(len(classes))} if keys else {}
    affected = sorted((number for number in most if most[number]), key=lambda number: -most[number])
    drawn = affected[:MAX_CLASSES_DRAWN]
    panels = [
        flips_per_class_spec(
            {classes[number]: changed[key][number] for number in drawn},
            [classes[number] for number in drawn],
            maximum=max(most.values(), default=0),
            title=key,
        )
        for key in keys
    ]
    caption = translate(
        "Newly wrong: fp32 is right and the candidate is wrong. Newly right: the reverse. Classes without changes are not shown."
    )
    if len(affected) > len(drawn):
        more = translate(
            "The {shown} of {all} classes with the most changes.", shown=len(drawn), all=f"{len(affected):,}"
        )
        caption = f"{caption} {more}"
    return _chart(
        "flips-per-class", panels, translate("Newly wrong and newly right photos by class"), caption, _NARROW_PX
    )


def confusion_chart(evaluation: Evaluation | None, key: str) -> Chart | None:
    """Return the confusion matrices of the reference and of the candidate of this key."""
    if not evaluation:
        return None
    pair, classes = reference_and(evaluation, key), evaluation.classes
    matrices = [row.confusion_counts() for row in pair]
    mistakes = [list(mistakes_of(counts).values()) for counts in matrices]
    maximum = max((max(counts, default=0) for counts in mistakes), default=0)
    drawn = most_confused(matrices, len(classes))
    panels = [
        confusion_spec(
            counts,
            drawn,
            classes,
            maximum=max(1, maximum),
            title=translate("{key}: {count} photos wrong", key=row.key, count=f"{sum(wrong):,}"),
        )
        for row, counts, wrong in zip(pair, matrices, mistakes, strict=True)
    ]
    caption = translate("Only mistakes are coloured; a stronger colour means more photos.")
    if len(drawn) < len(classes):
        more = translate(
            "The {shown} of {all} classes with the most mistakes.", shown=len(drawn), all=f"{len(classes):,}"
        )
        caption = f"{caption} {more}"
    panel_px = _PANEL_PX if len(drawn) <= MAX_CLASSES_BESIDE else _WIDE_PX
    return _chart("confusion", panels, translate("Confusion matrix"), caption, panel_px)


def _reliability_chart(facts: Facts, chosen: SummaryRow | None) -> Chart | None:
    """Return the reliability diagrams of the reference and of the chosen candidate."""
    panels = [
        reliability_spec(row.reliability, title=translate("{key}: ECE {ece}", key=row.key, ece=_ece_text(row.ece)))
        for row in facts.reference_and(chosen.key if chosen else "")
        if row.reliability and row.ece is not None
    ]
    caption = translate(
        "On the dashed line, the predicted probability equals the accuracy; below it, the model is overconfident. Larger dots: "
        "more photos. ECE: mean distance from the line, weighted by photos."
    )
    return _chart(
        "reliability", panels, translate("Reliability diagram: accuracy against predicted probability"), caption
    )


def _risk_coverage_chart(facts: Facts, chosen: SummaryRow | None) -> Chart | None:
    """Return the errors among accepted photos against their share, of the reference and of the chosen candidate."""
    rows = facts.reference_and(chosen.key if chosen else "")
    curves = {row.key: row.trust.curve for row in rows if row.trust is not None}
    caption = translate("To the left only the most probable answers are accepted. A lower line is better.")
    label = translate("Errors among accepted photos against the share of accepted photos")
    return _chart("risk-coverage", [risk_coverage_spec(curves)] if curves else [], label, caption)


def robustness_chart(robustness: Robustness | None, key: str) -> Chart | None:
    """Return top-1 accuracy for each corruption by level: fp32 against the candidate of this key, or against all."""
    if not robustness or not robustness.rows:
        return None
    keys = list(dict.fromkeys(row.candidate for row in robustness.rows))
    if key in keys and len(keys) > 2:
        keys = list(dict.fromkeys((keys[0], key)))
    panels = _robustness_panels(robustness, keys)
    caption = translate("Shows whether quantization loses more on corrupted photos. Bands: intervals of top-1.")
    label = translate("Top-1 accuracy against corruption level")
    return _chart("robustness", panels, label, caption, _NARROW_PX)


def _robustness_panels(robustness: Robustness, keys: Sequence[str]) -> list[Spec]:
    rows = [row for row in robustness.rows if row.candidate in keys]
    lowest = 5 * (100 * min(row.top1.low for row in rows) // 5)

    def rows_of(corruption: str) -> list[RobustnessRow]:
        clean = [row for row in rows if row.level == 0 and row.corruption in (corruption, CLEAN)]
        return clean + [row for row in rows if row.level > 0 and row.corruption == corruption]

    corruptions = dict.fromkeys(row.corruption for row in rows if row.level > 0)
    return [robustness_spec(rows_of(name), keys, lowest=lowest, title=corruption_name(name)) for name in corruptions]


def training_charts(training: dict[str, Any]) -> Iterator[Chart]:
    """Yield the curves of loss and accuracy by epoch; none without epochs. training: `training` of the manifest."""
    epochs, best = training.get("epochs") or [], training.get("best_epoch")
    if not epochs:
        return
    loss, accuracy = (training_curve_spec(epochs, measure, best) for measure in ("loss", "accuracy"))
    caption = translate("Cross-entropy; training loss on augmented photos. Dashed line: the selected epoch.")
    yield Chart("training-loss", (loss,), translate("Loss by epoch"), caption)
    caption = translate("Training accuracy is measured on augmented photos and may be lower than validation accuracy.")
    yield Chart("training-accuracy", (accuracy,), translate("Accuracy by epoch"), caption)


def tournament_chart(calibration: dict[str, Any]) -> Chart | None:
    """Return the comparison of the calibration's range methods. calibration: `calibration` of the manifest."""
    entries = calibration.get("tournament") or []
    caption = translate("Complete int8 models on held-out photos. A shorter bar is closer to fp32.")
    panels = [tournament_spec(entries)] if entries else []
    return _chart("tournament", panels, translate("Divergence from fp32 by range method"), caption)


def sensitivity_chart(sensitivity: Sensitivity | None) -> Chart | None:
    """Return the divergence caused by each single layer in 8 bits."""
    if not sensitivity:
        return None
    caption = translate(
        "Divergence of the outputs on {images} photos with only that layer in 8 bits; the most sensitive first.",
        images=sensitivity.images,
    )
    panels = [sensitivity_spec(sensitivity.rows)]
    return _chart("sensitivity", panels, translate("Sensitivity to quantization by layer"), caption)


def overview_chart(bundles: Sequence[tuple[str, Facts]]) -> Chart | None:
    """Return accuracy against latency of all bundles, a panel for each machine. bundles: name in the report, and facts."""
    rows: dict[str, list[tuple[str, SummaryRow]]] = {}
    for name, facts in bundles:
        for machine, bench in facts.benches().items():
            rows.setdefault(machine, []).extend((name, row) for row in _placeable(facts, bench))
    names = [name for name, _ in bundles]
    panels = [
        bundles_latency_spec(placeable, names, title=machine if len(rows) > 1 else "")
        for machine, placeable in rows.items()
        if placeable
    ]
    label = translate("Top-1 accuracy of all bundles against median latency of one photo")
    caption = translate("Up and left is better. Bars: intervals. Thin line: Pareto front.")
    return _chart("overview", panels, label, caption)


def _chart(name: str, panels: Sequence[Spec], label: str, caption: str, panel_px: int = _PANEL_PX) -> Chart | None:
    return Chart(name, tuple(panels), label, caption, panel_px) if panels else None


def _key(chosen: SummaryRow | None) -> str:
    return chosen.key if chosen else ""


def _ece_text(ece: Interval | float) -> str:
    """Return a calibration error as text; result files store it with or without an interval."""
    return f"{ece.value if isinstance(ece, Interval) else ece:.4f}"
