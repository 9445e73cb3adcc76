"""CSV files beside a document, with all rows of the tables that show only some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vegrt.files.atomic import write_text
from vegrt.files.csv_cells import csv_text, text_cell
from vegrt.report.html.blocks import Block, Section, Table


def linked_sections(sections: Sequence[Section], document: Path, folder: str) -> list[Section]:
    """Return the sections with the names that their CSV files have beside `document`.

    folder: of the bundle's pictures; empty in a report on one bundle.
    """
    prefix = "-".join(filter(None, (document.stem, folder)))
    return [replace(section, blocks=tuple(_linked(block, prefix) for block in section.blocks)) for section in sections]


def write_row_files(sections: Sequence[Section], folder: Path) -> list[Path]:
    """Write the CSV files of linked sections to a folder, and return their paths."""
    written = []
    for table in (block for section in sections for block in section.blocks if isinstance(block, Table)):
        if table.complete is not None:
            lines = [(text_cell(row[0]), *row[1:]) for row in table.complete.rows]
            write_text(folder / table.complete.file, csv_text([table.headings, *lines]))
            written.append(folder / table.complete.file)
    return written


def _linked(block: Block, prefix: str) -> Block:
    if not isinstance(block, Table) or block.complete is None:
        return block
    return replace(block, complete=replace(block.complete, file=f"{prefix}-{block.complete.file}"))
