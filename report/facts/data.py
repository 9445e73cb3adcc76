"""The section on the photos: how many in each split and class, and what an audit of them found."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vegrt.errors import DataError, FormatError
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Section, Table, Text, fact_table, section, table
from vegrt.report.language.language import translate
from vegrt.train.data.audit_file import audit_values

log = logging.getLogger(__name__)


def read_audit(file: Path) -> dict[str, Any]:
    """Return the content of an audit.json. Raises DataError when it is missing, damaged or of another format."""
    try:
        return audit_values(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); make it: vegrt data audit DATA") from error
    except FormatError as error:
        raise DataError(f"{file}: damaged audit ({error}); run: vegrt data audit DATA") from error


def fits(audit: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Return whether an audit is of the photos that a bundle was made with. data: of its manifest."""
    known = {
        name: split["fingerprint"] for name, split in data.items() if isinstance(split, dict) and "fingerprint" in split
    }
    prints = audit["fingerprints"]
    return bool(known) and all(prints.get(name) == value for name, value in known.items())


def data(facts: Facts) -> Section:
    """Return the photos of each split and class, and the audit."""
    return section("data", translate("Photos"), _counts(facts), *audit_blocks(facts))


def audit_blocks(facts: Facts) -> list[Text | Table | None]:
    """Return what the audit found; without an audit, that there was none."""
    if not (audit := facts.audit):
        return [
            Text(
                translate("No audit of these photos was given: {command}.", command="vegrt data audit DATA"), note=True
            )
        ]
    leaked = {name for names in audit["leaked_test_images"].values() for name in names}
    across = sum(pair["cross_split"] for pair in audit["near_pairs"])
    test = sum(audit["counts"].get("test", {}).values())
    pairs = translate(
        "{pairs} pairs, {across} of them across splits", pairs=f"{len(audit['near_pairs']):,}", across=f"{across:,}"
    )
    return [
        fact_table(
            translate("What `vegrt data audit` found"),
            [
                (
                    translate("leaked test photos"),
                    translate("{count} of {images}", count=f"{len(leaked):,}", images=f"{test:,}"),
                ),
                (translate("near duplicates"), pairs),
                (translate("scenes of several photos"), f"{len(audit.get('clusters', [])):,}"),
                (translate("groups of equal files"), f"{len(audit.get('exact_duplicates', [])):,}"),
                (translate("unreadable files"), f"{len(audit.get('unreadable', {})):,}"),
                (translate("photos of another size"), f"{len(audit.get('odd_sizes_px', {})):,}"),
            ],
        ),
        Text(
            translate(
                "Leaked: a test photo with a near duplicate in train or validation, so that its answer proves little."
            ),
            note=True,
        ),
    ]


def _counts(facts: Facts) -> Table | None:
    splits = {
        name: split["counts"]
        for name, split in facts.bundle.manifest.data.items()
        if isinstance(split, dict) and isinstance(split.get("counts"), dict)
    }
    if facts.audit:
        splits |= {name: counts for name, counts in facts.audit["counts"].items() if name not in splits}
    if not splits:
        return None
    lines = [
        (name, *(f"{counts.get(name, 0):,}" for counts in splits.values())) for name in facts.bundle.manifest.classes
    ]
    total = (translate("all"), *(f"{sum(counts.values()):,}" for counts in splits.values()))
    words = {"train": translate("train"), "validation": translate("validation"), "test": translate("test")}
    heads = (translate("class"), *(words.get(name, name) for name in splits))
    return table(translate("Photos of each class and split"), heads, [*lines, total], text_columns=1)
