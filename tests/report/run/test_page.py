"""The page and the pictures of one run, from a real history file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vegrt.report.charts.run import run_charts, write_pngs
from vegrt.report.run.page import write_run_page
from vegrt.report.run.text import run_values
from vegrt.train.history.mistakes import Explanation, Mistake
from vegrt.train.history.records import EpochRecord, Phase
from vegrt.train.history.runs_db import Recorder, Run, load_run

CLASSES = ("Bean", "Carrot", "Radish")
HOSTILE = "<script>alert(1)</script>"
Make = Callable[..., Run]


class Words(HTMLParser):
    """The text of a page outside scripts and styles, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)
        self.text = " ".join(filter(None, self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "data")]

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            self.words.append(data.strip())


def epochs_of(phase: Phase, losses: list[tuple[float, float]], start: int = 1) -> list[EpochRecord]:
    norms = {"conv1": 0.002, "layer1": 0.5, "head": 1.0} if phase == "all" else {}
    return [
        EpochRecord(epoch, phase, mine, 0.9, theirs, 0.88, 1e-4, 50.0, 3.0, norms)
        for epoch, (mine, theirs) in enumerate(losses, start)
    ]


USUAL = [*epochs_of("head", [(0.9, 0.8), (0.7, 0.6)]), *epochs_of("all", [(0.5, 0.4), (0.2, 0.5), (0.1, 0.7)], 3)]


def explanation(photos: Path, classes: tuple[str, ...] = CLASSES) -> Explanation:
    wrong = [Mistake(str(photos / f"{number}.jpg"), classes[0], classes[2], 4.0 - number / 10) for number in range(3)]
    return Explanation(classes, ((7, 0, 3), (0, 10, 0), (0, 0, 10)), tuple(wrong))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a run to a history and reads it back; two of its three photos exist."""
    for number in (0, 1):
        Image.new("RGB", (300, 200), (90 * number, 200, 0)).save(tmp_path / f"{number}.jpg")

    def made(epochs: list[EpochRecord], explained: Explanation | None = None, status: Any = "finished") -> Run:
        recorder = Recorder(tmp_path / "runs.db", "ab12cd34")
        recipe = {"backbone": "resnet18", "augment": "full", "lr": 2e-4}
        recorder.start(recipe, data=tmp_path, bundle=tmp_path / "models/one")
        for record in epochs:
            recorder.epoch(record)
        if explained is not None:
            recorder.explain(explained)
        recorder.end(status)
        return load_run(tmp_path / "runs.db", "last")

    return made


def page(run: Run, out: Path) -> str:
    write_run_page(run, out)
    return out.read_text(encoding="utf-8")


def test_page_says_the_verdicts_first_and_shows_what_they_rest_on(make: Make, tmp_path: Path) -> None:
    text = page(make(USUAL, explanation(tmp_path)), tmp_path / "run.html")
    words = Words(text).text
    order = [
        "2 CONCERNS",
        "resnet18: overfitting after epoch 3",
        "Loss and accuracy",
        "Gradients",
        "Confusion matrix",
    ]
    places = [words.index(part) for part in [*order, "Photos with the highest loss", "All recorded epochs", "Recipe"]]
    assert places == sorted(places)
    assert "Vanishing gradients: hardly any reach conv1" in words
    assert "Training all layers lowered the validation loss" in words
    assert "Bean Radish 3 30.0%" in words
    assert len(re.findall(r'<figure class="chart">', text)) == 4


def test_page_is_one_small_file_that_loads_nothing_and_runs_our_scripts_only(make: Make, tmp_path: Path) -> None:
    text = page(make(USUAL, explanation(tmp_path)), tmp_path / "run.html")
    assert [value for value in Words(text).loaded if not value.startswith(("data:", "#"))] == []
    assert len(text.encode()) < 3e6
    run = re.findall(r"<script>(.*?)</script>", text, re.S)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in run]
    assert len(hashes) == 2
    assert all(f"&#39;sha256-{digest}&#39;" in text for digest in hashes)


def test_photos_that_are_gone_are_named(make: Make, tmp_path: Path) -> None:
    text = page(make(USUAL, explanation(tmp_path)), tmp_path / "run.html")
    assert text.count("data:image/jpeg;base64,") == 2 * 2  # among the confusions and among the hardest
    assert text.count("photo not shown") == 2
    assert text.count("<small>2.jpg</small>") == 2
    uri = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)[0]
    assert max(Image.open(BytesIO(base64.b64decode(uri))).size) <= 160


@pytest.mark.parametrize(
    ("epochs", "status", "expected"),
    [
        ([], "failed", "NO EPOCH"),
        (epochs_of("all", [(0.5, 0.4)]), "running", "one epoch is too short to detect overfitting"),
        (epochs_of("head", [(0.5, 0.4), (0.4, 0.3)]), "finished", "No gradients to compare"),
    ],
    ids=["no epoch", "one epoch", "head alone"],
)
def test_short_runs_have_a_page_too(
    epochs: list[EpochRecord], status: str, expected: str, make: Make, tmp_path: Path
) -> None:
    run = make(epochs, status=status)
    words = Words(page(run, tmp_path / "run.html")).text
    assert expected in words
    assert f"Status: {status}, {len(epochs)} epochs recorded" in words
    assert "Confusion matrix" not in words
    assert run_values(run)["epochs"] == len(epochs)


def test_names_cannot_become_markup(make: Make, tmp_path: Path) -> None:
    text = page(make(USUAL, explanation(tmp_path, (HOSTILE, "Carrot", "Radish"))), tmp_path / "run.html")
    assert "<script>alert" not in text
    assert HOSTILE in Words(text).text


def test_charts_are_written_as_pngs(make: Make, tmp_path: Path) -> None:
    files = write_pngs(make(USUAL, explanation(tmp_path)), tmp_path / "charts")
    assert [file.name for file in files] == ["loss.png", "accuracy.png", "gradients.png", "confusion.png"]
    for file in files:
        with Image.open(file) as image:
            assert image.width > 1000
            assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    few = replace(make([]), epochs=tuple(USUAL[:2]), explanation=Explanation())
    assert [file.name for file in write_pngs(few, tmp_path / "few")] == ["loss.png", "accuracy.png"]


def test_one_wild_loss_does_not_flatten_the_others(make: Make) -> None:
    loss = run_charts(make(USUAL))["loss"].panels
    assert '"log"' not in json.dumps(loss)
    wild = replace(USUAL[0], validation_loss=13.0)
    assert '"log"' in json.dumps(run_charts(make([wild, *USUAL[1:]]))["loss"].panels)


def test_a_perfect_run_is_drawn(make: Make, tmp_path: Path) -> None:
    perfect = Explanation(CLASSES, ((10, 0, 0), (0, 10, 0), (0, 0, 10)))
    words = Words(page(make(USUAL, perfect), tmp_path / "run.html")).text
    assert "No confusions: all validation photos were classified correctly." in words
