"""The section on the photos: their number by split and class, and the findings of the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import (
    MAX_CLASSES_LISTED,
    CompleteRows,
    Section,
    Table,
    Text,
    fact_table_of,
    section_of,
    table_of,
)
from vegrt.report.language.language import translate
from vegrt.train.data.audit_file import ReportedAudit


def is_audit_of(audit: ReportedAudit, data: Mapping[str, Any]) -> bool:
    """Return whether an audit covers the photos that a bundle was made with. data: `data` of the bundle's manifest."""
    fingerprints = {
        name: split["fingerprint"] for name, split in data.items() if isinstance(split, dict) and "fingerprint" in split
    }
    return bool(fingerprints) and all(audit.fingerprints.get(name) == value for name, value in fingerprints.items())


def data_section(facts: Facts) -> Section:
    """Return the photos of each split and class, and the audit."""
    return section_of("data", translate("Photos"), _count_table(facts), *_audit_blocks(facts.audit))


def _audit_blocks(audit: ReportedAudit | None) -> list[Text | Table | None]:
    if audit is None:
        missing = translate("No audit of these photos is available: {command}.", command="vegrt data audit DATA")
        return [Text(missing, note=True)]
    leaked = {name for names in audit.leaked_test_images.values() for name in names}
    across = sum(pair.cross_split for pair in audit.near_pairs)
    test = sum(audit.counts.get("test", {}).values())
    pairs = translate(
        "{pairs} pairs, {across} of them across splits", pairs=f"{len(audit.near_pairs):,}", across=f"{across:,}"
    )
    leaks = translate("{count} of {images}", count=f"{len(leaked):,}", images=f"{test:,}")
    rows = [
        (translate("leaked test photos"), leaks),
        (translate("near duplicates"), pairs),
        (translate("scenes with several photos"), f"{len(audit.clusters):,}"),
        (translate("groups of identical files"), f"{len(audit.exact_duplicates):,}"),
        (translate("unreadable files"), f"{len(audit.unreadable):,}"),
        (translate("photos of an unusual size"), f"{len(audit.odd_sizes_px):,}"),
    ]
    note = translate(
        "Leaked: a test photo with a near duplicate in train or validation. A correct answer to it is weak evidence."
    )
    return [fact_table_of(translate("Findings of `vegrt data audit`"), rows), Text(note, note=True)]


def _count_table(facts: Facts) -> Table | None:
    splits = {
        name: split["counts"]
        for name, split in facts.bundle.manifest.data.items()
        if isinstance(split, dict) and isinstance(split.get("counts"), dict)
    }
    if facts.audit:
        splits |= {name: counts for name, counts in facts.audit.counts.items() if name not in splits}
    if not splits:
        return None
    rows = [
        (name, *(f"{counts.get(name, 0):,}" for counts in splits.values())) for name in facts.bundle.manifest.classes
    ]
    total = (translate("all"), *(f"{sum(counts.values()):,}" for counts in splits.values()))
    words = {"train": translate("train"), "validation": translate("validation"), "test": translate("test")}
    headings = (translate("class"), *(words.get(name, name) for name in splits))
    caption = translate("Number of photos by class and split")
    if len(rows) <= MAX_CLASSES_LISTED:
        return table_of(caption, headings, [*rows, total], text_columns=1)
    numbers = {name: sum(counts.get(name, 0) for counts in splits.values()) for name in facts.bundle.manifest.classes}
    fewest = sorted(rows, key=lambda row: numbers[row[0]])[:MAX_CLASSES_LISTED]
    more = translate("The {shown} of {all} classes with the fewest photos.", shown=len(fewest), all=f"{len(rows):,}")
    complete = CompleteRows("photos.csv", (*rows, total))
    return table_of(f"{caption}. {more}", headings, [*fewest, total], text_columns=1, complete=complete)
