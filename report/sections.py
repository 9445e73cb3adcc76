"""The sections of a bundle's report, in their order. One without content is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vegrt.report.answers import calibration_of_answers, per_class, robustness
from vegrt.report.facts.data import data
from vegrt.report.facts.facts import Facts
from vegrt.report.gallery import gallery
from vegrt.report.html.blocks import Block, Chart, PhotoGrid, Section, Table, Text, charts, section, sections, table
from vegrt.report.language.language import translate
from vegrt.report.photo_sets import photo_sets
from vegrt.report.provenance import calibration, engines, environment
from vegrt.report.reproduce import reproduce
from vegrt.report.summary import HEADS, NONE, TEXT_COLUMNS, TIMES, SummaryRow, joined, rows_with
from vegrt.report.verdict import Conclusion

_MAX_CONFUSIONS = 10


def bundle_sections(
    facts: Facts, compared: Sequence[SummaryRow], conclusion: Conclusion, drawn: dict[str, Chart], photos: Path | None
) -> list[Section]:
    """Return everything that is said of one bundle below its verdict. drawn: its charts. photos: the data folder."""
    changed = gallery(facts, photos)
    without = translate("The photos are in the HTML report only.")
    return sections(
        _comparison(facts, compared),
        _leaks(facts),
        photo_sets(facts),
        _speed(facts, drawn),
        per_class(facts, conclusion.chosen, drawn.get("flips-per-class")),
        section(
            "changed",
            translate("Photos that changed their answer"),
            PhotoGrid(changed, without) if changed else None,
        ),
        _confusion(facts, conclusion, drawn.get("confusion")),
        calibration_of_answers(facts, drawn.get("reliability")),
        robustness(facts, drawn.get("robustness")),
        _training(facts.bundle.manifest.training, drawn),
        calibration(facts, drawn),
        data(facts),
        engines(facts),
        environment(facts),
        reproduce(facts),
    )


def _comparison(facts: Facts, compared: Sequence[SummaryRow]) -> Section:
    lines = [row.cells() for row in compared]
    evaluation, bench, path = facts.evaluation, facts.bench, facts.bundle.path
    notes = []
    if evaluation:
        drop = translate(
            "Drop: top-1 lost against fp32 on the same {images} photos, {confidence} interval.",
            images=f"{evaluation['images']:,}",
            confidence=f"{evaluation['confidence']:.0%}",
        )
        gate = translate(
            "Gate: the whole interval below {margin} points passes.", margin=f"{evaluation['margin_points']:g}"
        )
        notes += [drop, gate, *left_out(evaluation)]
    else:
        notes.append(translate("Not evaluated yet: {command}.", command=f"vegrt evaluate {path} --data DATA"))
    if bench:
        rounds = bench.get("rounds", NONE)
        notes.append(
            translate(
                "Times: the network alone, of one photo, {rounds} rounds; images/s: at the best batch size.",
                rounds=rounds,
            )
        )
    else:
        notes.append(translate("Not measured yet: {command}.", command=f"vegrt bench {path}"))
    title, heads = translate("Accuracy, size and speed of every candidate"), [translate(head) for head in HEADS]
    whole = table(title, heads, lines, text_columns=TEXT_COLUMNS)
    return section("comparison", translate("Comparison"), whole, Text(" ".join(notes), note=True))


def left_out(evaluation: dict[str, Any]) -> list[str]:
    """Return what the figures of an evaluation are not of: unreadable photos, and what was not run."""
    said, unreadable = [], len(evaluation.get("unreadable") or ())
    if unreadable:
        total = f"{evaluation['images'] + unreadable:,}"
        said.append(
            translate("{count} of {total} test photos cannot be read: left out.", count=f"{unreadable:,}", total=total)
        )
    if paths := [one["artifact"] for one in evaluation.get("not_run") or ()]:
        said.append(translate("Not run, so nothing is known of it: {files}.", files=", ".join(paths)))
    return said


def _leaks(facts: Facts) -> Section | None:
    """Return every candidate's accuracy with and without the leaked test photos; nothing without an audit."""
    found = [row for row in facts.evaluated() if "without_leaks" in row]
    if not facts.evaluation or not found:
        return None
    lines = []
    for row in found:
        _, _, _, whole, *_ = joined(row, None).cells()
        clean_row = joined(row | row["without_leaks"], None)
        _, _, verdict, clean, drop, flips, *_ = clean_row.cells()
        lines.append((row["key"], verdict, clean, drop, flips, whole))
    leaked, images = facts.evaluation["leaked"], facts.evaluation["images"]
    text = translate(
        "{leaked} of {images} test photos have a near duplicate in train or validation, by the audit. All columns but "
        "the last are of the other {others}.",
        leaked=f"{leaked:,}",
        images=f"{images:,}",
        others=f"{images - leaked:,}",
    )
    heads = [
        translate("candidate"),
        translate("gate"),
        translate("top-1 %, clean"),
        translate("drop, points"),
        translate("flips"),
        translate("top-1 %, all"),
    ]
    title = translate("With and without leaked photos")
    return section("leaks", title, Text(text), table(title, heads, lines, text_columns=2))


def _speed(facts: Facts, drawn: dict[str, Chart]) -> Section:
    pair = charts(drawn.get("accuracy-latency"), drawn.get("throughput"))
    tables = [_elsewhere(facts, name, bench) for name, bench in facts.benches().items() if bench in facts.elsewhere]
    return section(
        "speed", translate("Accuracy against speed"), pair, charts(drawn.get("stage-times")), _start(facts), *tables
    )


def _start(facts: Facts) -> Table | None:
    """Return what loading costs, where the benchmark recorded the memory."""
    lines = [
        (row["key"], f"{row['load_s']:.2f}", f"{row['peak_rss_mib']:,.0f}", *_whole_way(row))
        for row in facts.measured()
        if row.get("peak_rss_mib") is not None and row.get("load_s") is not None
    ]
    heads = [
        translate("candidate"),
        translate("load, s"),
        translate("peak memory, MiB"),
        translate("JPEG to label, p50 ms"),
    ]
    return table(translate("Loading, memory, and the whole way of one photo"), heads, lines, text_columns=1)


def _whole_way(row: dict[str, Any]) -> tuple[str]:
    single = next((point for point in row.get("end_to_end") or () if point["batch"] == 1), None)
    return (f"{single['p50_ms']:.2f}" if single else NONE,)


def _elsewhere(facts: Facts, name: str, bench: dict[str, Any]) -> Table | None:
    lines = [
        (row.variant, row.runtime_name, *row.cells()[TIMES]) for row in rows_with(facts, bench) if row.images_per_s
    ]
    heads = [translate(HEADS[0]), translate(HEADS[1]), *(translate(head) for head in HEADS[TIMES])]
    caption = translate("Measured on {machine}, {date}", machine=name, date=str(bench["created"])[:10])
    return table(caption, heads, lines, text_columns=2)


def _confusion(facts: Facts, conclusion: Conclusion, chart: Chart | None) -> Section | None:
    if not facts.evaluation:
        return None
    classes: list[str] = facts.evaluation["classes"]
    pair = facts.pair(conclusion.chosen.key if conclusion.chosen else "")
    found = {
        (true, said): tuple(row["confusion"][true][said] for row in pair)
        for true in range(len(classes))
        for said in range(len(classes))
        if true != said and any(row["confusion"][true][said] for row in pair)
    }
    ranked = sorted(found.items(), key=lambda item: (-sum(item[1]), item[0]))[:_MAX_CONFUSIONS]
    lines = [(classes[true], classes[said], *map(str, counts)) for (true, said), counts in ranked]
    heads = (translate("what it is"), translate("what was said"), *(row["key"] for row in pair))
    most: Block | None = table(translate("The most frequent confusions, in photos"), heads, lines, text_columns=2)
    return section("confusion", translate("What is taken for what"), charts(chart), most)


def _training(training: dict[str, Any], drawn: dict[str, Chart]) -> Section | None:
    epochs = training.get("epochs") or []
    if not epochs:
        return None
    head = sum(epoch["phase"] == "head" for epoch in epochs)
    text = translate(
        "{head} epochs of the head on frozen features, then {all} of the whole network.",
        head=head,
        all=len(epochs) - head,
    )
    if "seconds" in training:
        minutes, device = f"{training['seconds'] / 60:.1f}", training.get("device", translate("an unnamed device"))
        text = f"{text} {translate('It took {minutes} minutes on {device}.', minutes=minutes, device=device)}"
    curves = charts(drawn.get("training-loss"), drawn.get("training-accuracy"))
    return section("training", translate("Training"), Text(text), curves)
