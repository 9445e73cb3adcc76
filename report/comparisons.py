"""The comparison sections: candidates, clean and leaked photos, photo sets, machines, and several bundles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vegrt.evaluate.photo_sets import other_sets
from vegrt.infer.runtimes.objective import single_photo
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import (
    Badge,
    Chart,
    Section,
    Table,
    Text,
    charts_of,
    section_of,
    sections_of,
    table_of,
    verdict_words,
)
from vegrt.report.language.language import translate
from vegrt.report.speed import limit_sentences
from vegrt.report.summary import (
    HEADINGS,
    NONE,
    TEXT_COLUMNS,
    TIMES,
    SummaryRow,
    summary_row,
    summary_rows,
    summary_rows_on,
)
from vegrt.report.verdict import Conclusion, conclude
from vegrt.results.benchmark import Bench, BenchCandidate
from vegrt.results.evaluation import Evaluation


def overview_sections(bundles: Sequence[tuple[str, Facts]], chart: Chart | None) -> list[Section]:
    """Return the comparison of several bundles. bundles: name in the report, and facts."""
    verdicts, lines = [], []
    for name, facts in bundles:
        rows = summary_rows(facts)
        conclusion = conclude(facts, rows)
        verdicts.append(Text(f"{name}: {conclusion.headline} ({verdict_words(conclusion.outcome)})"))
        lines += [(name, *row.cells()) for row in _reference_and_chosen(rows, conclusion)]
    headings = [translate("bundle"), *(translate(heading) for heading in HEADINGS)]
    title = translate("The reference and the chosen candidate of each bundle")
    table = table_of(title, headings, lines, text_columns=1 + TEXT_COLUMNS)
    note = Text(translate("The drop of each bundle is measured against its own fp32."), note=True)
    return sections_of(section_of("overview", translate("Comparison"), *verdicts, table, note, charts_of(chart)))


def _reference_and_chosen(rows: Sequence[SummaryRow], conclusion: Conclusion) -> list[SummaryRow]:
    chosen = conclusion.chosen.key if conclusion.chosen else ""
    return [row for row in rows if row.verdict == "REFERENCE" or row.key == chosen] or list(rows[:1])


def comparison_section(facts: Facts, rows: Sequence[SummaryRow]) -> Section:
    """Return all candidates with their accuracy, size and speed."""
    headings = [translate(heading) for heading in HEADINGS]
    caption = translate("Accuracy, size and speed of every candidate")
    table = table_of(caption, headings, [row.cells() for row in rows], text_columns=TEXT_COLUMNS)
    notes = [*_accuracy_notes(facts), _speed_note(facts)]
    return section_of("comparison", translate("Comparison"), table, Text(" ".join(notes), note=True))


def _accuracy_notes(facts: Facts) -> list[str]:
    if not (evaluation := facts.evaluation):
        command = f"vegrt evaluate {facts.bundle.path} --data DATA"
        return [translate("Not evaluated yet: {command}.", command=command)]
    drop = translate(
        "Drop: loss of top-1 accuracy against fp32 on the same {images} photos, with its {confidence} interval.",
        images=f"{evaluation.images:,}",
        confidence=f"{evaluation.confidence:.0%}",
    )
    gate = translate(
        "Gate: PASS if the whole interval lies below the margin of {margin} points.",
        margin=f"{evaluation.margin_points:g}",
    )
    return [drop, gate, *omission_notes(evaluation)]


def _speed_note(facts: Facts) -> str:
    if not facts.bench:
        return translate("Not measured yet: {command}.", command=f"vegrt bench {facts.bundle.path}")
    rounds = NONE if facts.bench.rounds is None else facts.bench.rounds
    return translate(
        "Times: one photo, the network only, {rounds} rounds. images/s: at the fastest batch size.", rounds=rounds
    )


def omission_notes(evaluation: Evaluation) -> list[str]:
    """Return the gaps of an evaluation: unreadable photos, and artifacts that were not run."""
    notes, unreadable = [], len(evaluation.unreadable)
    if unreadable:
        total = f"{evaluation.images + unreadable:,}"
        notes.append(
            translate(
                "{count} of {total} test photos are unreadable and excluded.", count=f"{unreadable:,}", total=total
            )
        )
    if evaluation.not_run:
        files = ", ".join(artifact.artifact for artifact in evaluation.not_run)
        notes.append(translate("Not run, so their accuracy is unknown: {files}.", files=files))
    return notes


def leak_section(facts: Facts) -> Section | None:
    """Return every candidate's accuracy with and without the leaked test photos; nothing without an audit."""
    if not facts.evaluation:
        return None
    lines = []
    for row in facts.evaluated():
        if row.without_leaks is None:
            continue
        clean, whole = summary_row(row, row.without_leaks), summary_row(row, row)
        verdict = Badge(clean.verdict or NONE)
        lines.append((row.key, verdict, clean.top1_cell(), clean.drop_cell(), clean.flips_cell(), whole.top1_cell()))
    if not lines:
        return None
    leaked, images = facts.evaluation.leaked or 0, facts.evaluation.images
    text = translate(
        "According to the audit, {leaked} of {images} test photos have a near duplicate in train or validation. All columns "
        "except the last cover the other {others}.",
        leaked=f"{leaked:,}",
        images=f"{images:,}",
        others=f"{images - leaked:,}",
    )
    headings = [
        translate("candidate"),
        translate("gate"),
        translate("top-1 %, clean"),
        translate("drop, points"),
        translate("flips"),
        translate("top-1 %, all"),
    ]
    title = translate("Accuracy with and without leaked photos")
    return section_of("leaks", title, Text(text), table_of(title, headings, lines, text_columns=2))


def photo_set_section(facts: Facts) -> Section | None:
    """Return the evaluations of `vegrt evaluate --name` on other photos; None if only the test split was evaluated."""
    lines = [line for name, result in other_sets(facts.bundle).items() for line in _photo_set_lines(name, result)]
    if not lines:
        return None
    headings = [
        translate("photo set"),
        translate("images"),
        translate("candidate"),
        translate("top-1 %"),
        translate("interval, %"),
        translate("drop, points"),
        translate("flips"),
        translate("gate"),
    ]
    title = translate("Other photo sets")
    note = translate("The gate, the verdict above and the choice of vegrt infer use the bundle's own test split only.")
    return section_of("photo-sets", title, table_of(title, headings, lines, text_columns=1), Text(note, note=True))


def _photo_set_lines(name: str, result: Evaluation) -> Iterator[tuple[str, ...]]:
    for candidate in result.candidates:
        row, top1 = summary_row(candidate, candidate), candidate.top1
        interval = f"{100 * top1.low:.2f}–{100 * top1.high:.2f}"
        badge = Badge(candidate.gate.verdict)
        yield (
            name,
            f"{result.images:,}",
            row.key,
            row.top1_cell(),
            interval,
            row.drop_cell(),
            row.flips_cell(),
            badge,
        )


def speed_section(facts: Facts, charts: dict[str, Chart]) -> Section:
    """Return accuracy against speed, the stages, loading and memory, and the times on other machines."""
    pair = charts_of(charts.get("accuracy-latency"), charts.get("throughput"))
    tables = [_machine_table(facts, name, bench) for name, bench in facts.benches().items() if bench is not facts.bench]
    stages = charts_of(charts.get("stage-times"))
    limits = Text(sentences, note=True) if (sentences := limit_sentences(facts)) else None
    blocks = (pair, limits, stages, _memory_table(facts), *tables, _stated_table(facts))
    return section_of("speed", translate("Accuracy and speed"), *blocks)


def _stated_table(facts: Facts) -> Table | None:
    """Return the speed that answers files state."""
    stated = [(row.key, row.answers.speed) for row in facts.evaluated() if row.answers and row.answers.speed]
    lines = [
        (
            key,
            f"{speed.photos:,}",
            f"{speed.p50_ms:.2f}",
            f"{speed.p95_ms:.2f}",
            NONE if speed.images_per_s is None else f"{speed.images_per_s:,.0f}",
        )
        for key, speed in stated
    ]
    headings = [
        translate("other device"),
        translate("photos"),
        translate("p50 ms"),
        "p95 ms",
        translate("images/s"),
    ]
    caption = translate("Speed of other devices, as stated by the answers' files; not measured by vegrt")
    return table_of(caption, headings, lines, text_columns=1)


def _memory_table(facts: Facts) -> Table | None:
    """Return the load time and memory of each candidate, if the benchmark measured the memory."""
    lines = [
        (row.key, f"{row.load_s:.2f}", f"{row.peak_rss_mib:,.0f}", _end_to_end_cell(row))
        for row in facts.measured()
        if row.peak_rss_mib is not None and row.load_s is not None
    ]
    headings = [
        translate("candidate"),
        translate("load, s"),
        translate("peak memory, MiB"),
        translate("JPEG to label, p50 ms"),
    ]
    return table_of(translate("Load time, memory, and end-to-end time of one photo"), headings, lines, text_columns=1)


def _end_to_end_cell(row: BenchCandidate) -> str:
    single = single_photo(row.end_to_end or ())
    return f"{single.p50_ms:.2f}" if single else NONE


def _machine_table(facts: Facts, machine: str, bench: Bench) -> Table | None:
    lines = [
        (row.variant, row.runtime_name, *row.cells()[TIMES])
        for row in summary_rows_on(facts, bench)
        if row.images_per_s
    ]
    headings = [translate(heading) for heading in (*HEADINGS[:2], *HEADINGS[TIMES])]
    caption = translate("Measured on {machine}, {date}", machine=machine, date=bench.created[:10])
    return table_of(caption, headings, lines, text_columns=2)
