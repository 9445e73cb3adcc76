"""The page's sections, in their order. Each returns nothing where the bundle lacks what it would show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vegrt.report import charts
from vegrt.report.embed import chart_figure
from vegrt.report.facts import Facts
from vegrt.report.gallery import gallery
from vegrt.report.markup import Html, element, join, section, table
from vegrt.report.provenance import calibration, engines, environment, reproduce
from vegrt.report.summary import HEADS, Row, joined, rows
from vegrt.report.verdict import Conclusion, conclude

_MAX_CONFUSIONS = 10


def bundle_article(facts: Facts, data: Path | None) -> Html:
    """Return everything that the page says of one bundle, the verdict first."""
    compared = rows(facts)
    conclusion = conclude(facts, compared)
    parts = [
        _verdict(facts, conclusion),
        _comparison(facts, compared),
        _leaks(facts),
        _charts(facts, compared),
        _confusion(facts, conclusion),
        section("Photos that changed their answer", gallery(facts, data)),
        _training(facts.bundle.manifest.training),
        calibration(facts),
        engines(facts),
        environment(facts),
        reproduce(facts),
    ]
    return element("article", join(filter(None, parts)), aria_label=facts.bundle.manifest.name)


def _verdict(facts: Facts, conclusion: Conclusion) -> Html:
    badge = element("span", conclusion.outcome, class_="badge")
    sentences = [element("p", sentence) for sentence in conclusion.sentences]
    title = element("h2", f"{facts.bundle.manifest.name}: {conclusion.headline}")
    return element("div", element("p", badge), title, *sentences, class_=f"verdict {conclusion.outcome.lower()}")


def _comparison(facts: Facts, compared: Sequence[Row]) -> Html:
    lines = []
    for row in compared:
        *cells, verdict = row.cells()
        lines.append((*cells, element("span", verdict, class_=f"badge {verdict.lower()}")))
    evaluation, bench = facts.evaluation, facts.bench
    notes = []
    if evaluation:
        notes.append(
            f"Drop: top-1 lost against fp32 on the same {evaluation['images']:,} photos, {_confidence(facts)}."
        )
        notes.append(f"Gate: the whole interval below {evaluation['margin_points']:g} points passes.")
    else:
        notes.append(f"Not evaluated yet: vegrt evaluate {facts.bundle.path} --data DATA.")
    if bench:
        notes.append(
            f"Times: the network alone, of one photo, {bench['rounds']} rounds; images/s: at the best batch size."
        )
    else:
        notes.append(f"Not measured yet: vegrt bench {facts.bundle.path}.")
    title = "Accuracy, size and speed of every candidate"
    return section(
        "Comparison", table(title, HEADS, lines, text_columns=2), element("p", " ".join(notes), class_="note")
    )


def _leaks(facts: Facts) -> Html:
    """Return every candidate's accuracy with and without the leaked test photos; nothing without an audit."""
    found = [row for row in facts.evaluated() if "without_leaks" in row]
    if not facts.evaluation or not found:
        return Html("")
    lines = []
    for row in found:
        _, _, whole, *_ = joined(row, None).cells()
        _, _, clean, drop, flips, *_, verdict = joined(row | row["without_leaks"], None).cells()
        badge = element("span", verdict, class_=f"badge {verdict.lower()}")
        lines.append((row["key"], whole, clean, drop, flips, badge))
    leaked, images = facts.evaluation["leaked"], facts.evaluation["images"]
    text = (
        f"{leaked:,} of {images:,} test photos have a near duplicate in train or validation, by the audit. The last four "
        f"columns are of the other {images - leaked:,}."
    )
    heads = ("candidate", "top-1 %, all", "top-1 %, clean", "drop, points", "flips", "gate")
    return section("With and without leaked photos", element("p", text), table("Leaks", heads, lines, text_columns=1))


def _charts(facts: Facts, compared: Sequence[Row]) -> Html:
    figures = []
    placed = charts.paired_rows(facts, compared)
    if facts.evaluation and placed:
        caption = (
            f"Up and left is better. Bars: {_confidence(facts)}s. Thin line: what no other candidate beats in both. "
            "Dashed: the gate's margin; its verdict comes from the paired drop, not from these bars."
        )
        chart = charts.accuracy_latency(placed, facts.evaluation["margin_points"])
        figures.append(chart_figure(chart, "Top-1 accuracy against the median time of one photo", caption))
    if facts.measured():
        caption = "More photos at once: more per second, until the cores are busy. The network alone, from memory."
        chart = charts.throughput(facts.measured())
        figures.append(chart_figure(chart, "Photos per second against the batch size", caption))
    return section("Accuracy against speed", element("div", *figures, class_="charts") if figures else "")


def _confusion(facts: Facts, conclusion: Conclusion) -> Html:
    if not facts.evaluation:
        return Html("")
    classes: list[str] = facts.evaluation["classes"]
    chosen = conclusion.chosen.key if conclusion.chosen else ""
    pair = [row for number, row in enumerate(facts.evaluated()) if number == 0 or row["key"] == chosen]
    found = {
        (true, said): tuple(row["confusion"][true][said] for row in pair)
        for true in range(len(classes))
        for said in range(len(classes))
        if true != said and any(row["confusion"][true][said] for row in pair)
    }
    ranked = sorted(found.items(), key=lambda item: (-sum(item[1]), item[0]))[:_MAX_CONFUSIONS]
    lines = [(classes[true], classes[said], *map(str, counts)) for (true, said), counts in ranked]
    maps = []
    if len(classes) <= charts.MAX_CLASSES_DRAWN:
        maximum = max((max(counts) for counts in found.values()), default=1)
        maps = [_heat_map(row, classes, maximum) for row in pair]
    heads = ("what it is", "what was said", *(row["key"] for row in pair))
    most = table("The most frequent confusions, in photos", heads, lines, text_columns=2) if lines else ""
    return section("What is taken for what", element("div", *maps, class_="charts"), most)


def _heat_map(row: dict[str, Any], classes: Sequence[str], maximum: int) -> Html:
    chart = charts.confusion(row["confusion"], classes, maximum=maximum)
    wrong = sum(sum(line) for line in row["confusion"]) - sum(line[i] for i, line in enumerate(row["confusion"]))
    caption = f"{row['key']}: {wrong:,} photos wrong. Mistakes are coloured, the stronger the more."
    return chart_figure(chart, f"Confusion matrix of {row['key']}", caption)


def _training(training: dict[str, Any]) -> Html:
    epochs = training.get("epochs") or []
    if not epochs:
        return Html("")
    best = training.get("best_epoch")
    curves = [
        chart_figure(charts.training_curve(epochs, measure, best), f"{measure.capitalize()} by epoch", caption)
        for measure, caption in (
            ("loss", "Cross-entropy; training's is on augmented photos. Dashed: the epoch that was kept."),
            ("accuracy", "Training's is on augmented photos, so it may lie below validation's."),
        )
    ]
    head = sum(epoch["phase"] == "head" for epoch in epochs)
    text = f"{head} epochs of the head on frozen features, then {len(epochs) - head} of the whole network"
    if "seconds" in training:
        text += f": {training['seconds'] / 60:.1f} minutes on {training.get('device', 'an unnamed device')}"
    return section("Training", element("p", f"{text}."), element("div", *curves, class_="charts"))


def _confidence(facts: Facts) -> str:
    level = facts.evaluation["confidence"] if facts.evaluation else 0.95
    return f"{level:.0%} interval"
