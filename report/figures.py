"""Which charts a bundle's report has, by name, with their words. One without data is not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from vegrt.report.answers import CLEAN, corruption_words
from vegrt.report.charts import answers as answer_charts
from vegrt.report.charts import making as making_charts
from vegrt.report.charts import speed as speed_charts
from vegrt.report.charts.answers import MAX_CLASSES_DRAWN
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Chart, Spec
from vegrt.report.language.language import translate
from vegrt.report.summary import SummaryRow, rows_with

_MAX_PANELS = 6
_NARROW_PX = 288


def bundle_charts(facts: Facts, chosen: SummaryRow | None) -> dict[str, Chart]:
    """Return the charts by name, which is that of their picture file too. chosen: the candidate that the verdict is about."""
    makers: Iterable[Chart | None] = (
        accuracy_latency(facts),
        throughput(facts),
        stage_times(facts),
        flips_per_class(facts),
        confusion(facts, chosen),
        reliability(facts, chosen),
        robustness(facts, chosen),
        *training(facts.bundle.manifest.training),
        tournament(facts),
        sensitivity(facts),
    )
    return {chart.name: chart for chart in makers if chart is not None}


def accuracy_latency(facts: Facts) -> Chart | None:
    """Return top-1 against latency, a panel for each machine."""
    if not facts.evaluation:
        return None
    placed = {
        name: [row for row in rows_with(facts, bench) if row.top1 is not None and row.p50_ms]
        for name, bench in facts.benches().items()
    }
    placed = {name: rows for name, rows in placed.items() if rows}
    margin = facts.evaluation["margin_points"]
    panels = [
        speed_charts.accuracy_latency(rows, margin, title=name if len(placed) > 1 else "")
        for name, rows in placed.items()
    ]
    caption = translate(
        "Up and left is better. Bars: {confidence} intervals. Thin line: what no other candidate beats in both. Dashed: the "
        "gate's margin; its verdict comes from the paired drop, not from these bars.",
        confidence=f"{facts.evaluation['confidence']:.0%}",
    )
    return _chart("accuracy-latency", panels, translate("Top-1 accuracy against the median time of one photo"), caption)


def throughput(facts: Facts) -> Chart | None:
    """Return images per second against the batch size, a panel for each machine."""
    benches = facts.benches()
    panels = [
        speed_charts.throughput(bench["candidates"], title=name if len(benches) > 1 else "")
        for name, bench in benches.items()
        if bench["candidates"]
    ]
    caption = translate(
        "More photos at once: more per second, until the cores are busy. The network alone, from memory."
    )
    return _chart("throughput", panels, translate("Photos per second against the batch size"), caption)


def stage_times(facts: Facts) -> Chart | None:
    """Return where the time from a JPEG to a label goes, a panel for one photo at a time and one for the largest batches."""
    staged = [(row, points) for row in facts.measured() if (points := row.get("stages_ms"))]
    one = [(row, point) for row, points in staged for point in points if point["batch"] == 1]
    many = [(row, max(points, key=lambda point: int(point["batch"]))) for row, points in staged]
    titled = [(one, translate("one photo at a time"))]
    if any(point["batch"] > 1 for _, point in many):  # then all of them, also one whose best batch is a single photo
        titled.append((many, translate("each candidate's best batch (× photos)")))
    panels = [
        speed_charts.stage_times(
            [row for row, _ in found], [point for _, point in found], title=title, with_batch=found is many
        )
        for found, title in titled
        if found
    ]
    caption = translate(
        "From the JPEG file to the label: decode it, prepare the batch, run the network, read the answer. Medians of each, so "
        "that they need not add up to the whole's."
    )
    return _chart("stage-times", panels, translate("Where the time goes, by candidate"), caption)


def flips_per_class(facts: Facts) -> Chart | None:
    """Return newly wrong and newly right photos of each class, a panel for each candidate with any; the most first."""
    if not facts.evaluation:
        return None
    classes = facts.evaluation["classes"]
    changes = {row["key"]: facts.changes(row["key"]) for row in facts.evaluated()[1:]}
    changed = {key: counts for key, counts in changes.items() if any(map(any, counts))}
    shown = sorted(changed, key=lambda key: -sum(map(sum, changed[key])))[:_MAX_PANELS]
    lost = {number: max(sum(changed[key][number]) for key in shown) for number in range(len(classes))} if shown else {}
    kept = sorted((number for number in lost if lost[number]), key=lambda number: -lost[number])[:MAX_CLASSES_DRAWN]
    maximum = max(lost.values(), default=0)
    panels = [
        answer_charts.flips_per_class(
            {classes[number]: changed[key][number] for number in kept},
            [classes[number] for number in kept],
            maximum=maximum,
            title=key,
        )
        for key in shown
    ]
    caption = translate(
        "Photos that fp32 had right and the candidate lost, and the other way round. Other classes: none."
    )
    return _chart(
        "flips-per-class", panels, translate("Photos of each class that changed to wrong or right"), caption, _NARROW_PX
    )


def confusion(facts: Facts, chosen: SummaryRow | None) -> Chart | None:
    """Return the confusion matrices of the reference and of the chosen candidate."""
    if not facts.evaluation or len(facts.evaluation["classes"]) > MAX_CLASSES_DRAWN:
        return None
    classes, pair = facts.evaluation["classes"], facts.pair(chosen.key if chosen else "")
    wrong = [_mistakes(row["confusion"]) for row in pair]
    maximum = max((max(counts, default=0) for counts in wrong), default=0)
    panels = [
        answer_charts.confusion(
            row["confusion"],
            classes,
            maximum=max(1, maximum),
            title=translate("{key}: {count} photos wrong", key=row["key"], count=f"{sum(counts):,}"),
        )
        for row, counts in zip(pair, wrong, strict=True)
    ]
    caption = translate("Mistakes are coloured, the stronger the more.")
    return _chart("confusion", panels, translate("Confusion matrix"), caption)


def reliability(facts: Facts, chosen: SummaryRow | None) -> Chart | None:
    """Return the reliability diagrams of the reference and of the chosen candidate."""
    panels = [
        answer_charts.reliability(
            row["reliability"], title=translate("{key}: ECE {ece}", key=row["key"], ece=_ece(row["ece"]))
        )
        for row in (facts.pair(chosen.key if chosen else "") if facts.evaluation else ())
        if row.get("reliability")
    ]
    caption = translate(
        "On the dashed line, a probability means what it says; below it, the answers are too sure of themselves. A larger "
        "dot: more photos. ECE: the mean distance from the line, weighted by photos."
    )
    return _chart("reliability", panels, translate("Share of right answers against the probability given"), caption)


def robustness(facts: Facts, chosen: SummaryRow | None) -> Chart | None:
    """Return top-1 under each corruption by its level, fp32 against the chosen candidate or else all."""
    if not facts.robustness or not facts.robustness["rows"]:
        return None
    rows: list[dict[str, Any]] = facts.robustness["rows"]
    keys = list(dict.fromkeys(row["candidate"] for row in rows))
    if chosen and chosen.key in keys and len(keys) > 2:
        keys = list(dict.fromkeys((keys[0], chosen.key)))
    shown = [row for row in rows if row["candidate"] in keys]
    clean = [row for row in shown if row["level"] == 0]
    lowest = 5 * (100 * min(row["top1"]["low"] for row in shown) // 5)
    panels = []
    for corruption in dict.fromkeys(row["corruption"] for row in shown if row["level"] > 0):
        own = [row for row in shown if row["corruption"] == corruption and row["level"] > 0]
        start = [row for row in clean if row["corruption"] in (corruption, CLEAN)]
        panels.append(answer_charts.robustness(start + own, keys, lowest=lowest, title=corruption_words(corruption)))
    caption = translate("Does quantization cost more when the photo is bad? Bands: intervals of top-1.")
    return _chart(
        "robustness", panels, translate("Top-1 accuracy against the strength of a corruption"), caption, _NARROW_PX
    )


def training(trained: dict[str, Any]) -> Iterator[Chart]:
    """Yield the curves of loss and accuracy by epoch; none without epochs."""
    epochs, best = trained.get("epochs") or [], trained.get("best_epoch")
    if not epochs:
        return
    loss, accuracy = (making_charts.training_curve(epochs, measure, best) for measure in ("loss", "accuracy"))
    caption = translate("Cross-entropy; training's is on augmented photos. Dashed: the epoch that was kept.")
    yield Chart("training-loss", (loss,), translate("Loss by epoch"), caption)
    caption = translate("Training's is on augmented photos, so it may lie below validation's.")
    yield Chart("training-accuracy", (accuracy,), translate("Accuracy by epoch"), caption)


def tournament(facts: Facts) -> Chart | None:
    """Return the calibration's tournament."""
    entries = facts.bundle.manifest.calibration.get("tournament") or []
    caption = translate("Each method as a whole int8 model, on held-out photos. Shorter is closer to fp32.")
    panels = [making_charts.tournament(entries)] if entries else []
    return _chart("tournament", panels, translate("Divergence from fp32 of each range method"), caption)


def sensitivity(facts: Facts) -> Chart | None:
    """Return what each layer alone costs in 8 bits."""
    if not (found := facts.sensitivity):
        return None
    caption = translate(
        "Divergence of the answers on {images} photos when only that layer is 8-bit; the most sensitive first.",
        images=found["images"],
    )
    return _chart(
        "sensitivity", [making_charts.sensitivity(found["rows"])], translate("What each layer alone costs"), caption
    )


def overview_chart(named: Sequence[tuple[str, Facts]]) -> Chart | None:
    """Return accuracy against latency of all bundles, a panel for each machine that measured any of them."""
    machines: dict[str, list[tuple[str, SummaryRow]]] = {}
    for name, facts in named:
        for machine, bench in facts.benches().items():
            placed = [row for row in rows_with(facts, bench) if row.top1 is not None and row.p50_ms]
            machines.setdefault(machine, []).extend((name, row) for row in placed)
    names = [name for name, _ in named]
    panels = [
        speed_charts.bundles_by_latency(found, names, title=machine if len(machines) > 1 else "")
        for machine, found in machines.items()
        if found
    ]
    label = translate("Top-1 accuracy of all bundles against the median time of one photo")
    caption = translate("Up and left is better. Bars: intervals. Thin line: what no other candidate beats in both.")
    return Chart("overview", tuple(panels), label, caption) if panels else None


def _chart(name: str, panels: list[Spec], label: str, caption: str, panel_px: int = 416) -> Chart | None:
    return Chart(name, tuple(panels), label, caption, panel_px) if panels else None


def _mistakes(counts: list[list[int]]) -> list[int]:
    return [count for true, row in enumerate(counts) for said, count in enumerate(row) if true != said]


def _ece(value: Any) -> str:
    """Return a calibration error; a result file has it plain or with its interval."""
    return f"{value['value'] if isinstance(value, dict) else value:.4f}"
