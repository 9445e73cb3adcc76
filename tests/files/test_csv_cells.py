"""No cell of a CSV file is a formula, and every text comes back from its cell."""

from __future__ import annotations

import csv
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vegrt.dataset.photos import read_split
from vegrt.export.deploy.kit.photos import choose_test_photos, write_listing
from vegrt.files.csv_cells import text_cell, text_of_cell

STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


@given(st.text(st.sampled_from("'=+-@\t\uff1da "), max_size=6) | st.text(max_size=8))
def test_a_text_comes_back_from_its_cell_and_is_no_formula(text: str) -> None:
    assert text_cell(text)[:1] not in {*STARTS}
    assert text_of_cell(text_cell(text)) == text
    if text.lstrip("'")[:1] not in {*STARTS}:
        assert text_cell(text) == text


def test_a_listing_of_classes_that_look_like_formulas_is_read_as_it_was_written(tmp_path: Path) -> None:
    for name in ("=cmd|' /C calc'!A1", "'+1", "Beet"):
        folder = tmp_path / "data/test" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "-1.png")
    split = read_split(tmp_path / "data", "test")
    write_listing(tmp_path, "test.csv", choose_test_photos(split, 3), tmp_path)
    with (tmp_path / "test.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in {*STARTS}]
    again = read_split(tmp_path / "test.csv", "test")
    assert again.classes == split.classes
    assert [photo.path.resolve() for photo in again.photos] == [photo.path.resolve() for photo in split.photos]
