from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.result_files import inline
from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.report.facts.facts import Facts, load_facts
from vegrt.report.figures import bundle_charts
from vegrt.report.gallery import flip_gallery
from vegrt.report.html.blocks import Gallery
from vegrt.report.html.templates import read_asset
from vegrt.report.reproduce import recipe_flags
from vegrt.report.summary import summarize
from vegrt.report.verdict import conclude
from vegrt.report.write import ReportFiles, Sources, write_report
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result
from vegrt.train.recipe import Recipe, make_recipe

Make = Callable[..., Bundle]
HOSTILE = "<script>alert(1)<"  # a folder name holds no slash
RESOURCES = {"src", "href", "srcset", "poster", "data", "action", "xlink:href", "background", "formaction"}


class Page(HTMLParser):
    """The page as a browser parses it: elements, attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    @property
    def text(self) -> str:
        return " ".join(filter(None, self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            self.words.append(data.strip())


def gallery_of(facts: Facts, data: Path | None) -> Gallery:
    gallery = flip_gallery(facts, data)
    assert gallery is not None
    return gallery


@pytest.fixture(scope="module")
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_loads_nothing_and_is_small(text: str) -> None:
    parsed = Page(text)
    foreign = [value for name, value in parsed.attributes if name in RESOURCES and not value.startswith(("data:", "#"))]
    assert foreign == []
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(parsed.tags)
    assert not re.search(r"@import|url\(", read_asset("style.css"))
    assert len(text.encode()) < 5e6


def test_policy_forbids_the_network_and_allows_our_scripts_only(text: str) -> None:
    (policy,) = (value for name, value in Page(text).attributes if name == "content" and "default-src" in value)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    run = re.findall(r"<script>(.*?)</script>", text, re.S)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in run]
    assert rules.pop("script-src").split() == [f"'sha256-{digest}'" for digest in hashes]
    assert rules == {"default-src": "'none'", "img-src": "data:", "style-src": "'unsafe-inline'"}


def test_table_is_the_comparison(text: str, usual: Bundle) -> None:
    words = Page(text).text
    for row in summarize(usual):
        assert " ".join(row.cells()) in words


def test_says_the_verdict_before_anything_else(text: str, usual: Bundle) -> None:
    facts = load_facts(usual)
    words = Page(text).text
    headline = conclude(facts, summarize(usual)).headline
    assert words.index("PASS") < words.index(headline) < words.index("Accuracy, size and speed")


def test_shows_the_origin_of_the_numbers(text: str, usual: Bundle) -> None:
    words = Page(text).text
    for expected in ("mse signed 99.70% 0.003 chosen", "convolutions 20, matched 20, wanted Int8", usual.sha256()[:12]):
        assert expected in words
    for expected in ("int8 layer4.1.conv2 90.0%", "layer1.0.conv1 7 60 1", "32 signed 99.00% 0.002"):
        assert expected in words
    assert f"vegrt export {usual.path} --data DATA" in words
    assert all(artifact.sha256[:12] in words for artifact in usual.manifest.artifacts)


def test_charts_are_drawn_without_scripts_and_described(text: str) -> None:
    figures = re.findall(r'<figure class="chart">.*?</figure>', text, re.S)
    assert len(figures) == 11
    for figure in figures:
        labels = re.findall(r'role="img" aria-label="([^"]{10,})"', figure)
        assert figure.count("<svg") == len(labels) == len(set(labels))
        assert "<figcaption>" in figure
    assert text.count("window.vegaEmbed") == 1


def test_can_be_used_by_keyboard_and_screen_reader(text: str) -> None:
    parsed = Page(text)
    named = {value for name, value in parsed.attributes if name == "id"}
    links = [value for name, value in parsed.attributes if name == "href" and value.startswith("#")]
    assert links[0] == "#content"
    assert text.index('href="#content"') < text.index("<h1")
    assert {link[1:] for link in links} <= named
    assert len(links) == 1 + text.count("<section"), "every section is in the contents"
    levels = [int(tag[1]) for tag in parsed.tags if re.fullmatch(r"h\d", tag)]
    assert levels[:3] == [1, 2, 3]
    assert max(later - earlier for earlier, later in pairwise(levels)) == 1
    assert parsed.tags.count("table") == parsed.tags.count("caption") > 10
    assert all('tabindex="0"' in box for box in re.findall(r'<div class="scroll"[^>]*>', text))


def test_each_class_has_a_test_with_holms_correction(text: str, usual: Bundle) -> None:
    result = load_result(usual, Evaluation, "evaluate-test")
    assert result is not None
    chosen = conclude(load_facts(usual), summarize(usual)).chosen
    assert chosen is not None
    row = next(row for row in result.candidates if row.key == chosen.key)
    words = Page(text).text
    assert row.classes
    assert row.paired.classes
    for name, now, change in zip(result.classes, row.classes, row.paired.classes, strict=True):
        assert now.f1 is not None
        f1 = " ".join([f"{100 * now.f1.value:.1f}", f"({100 * now.f1.low:.1f} to"])
        assert re.search(rf"{name} {now.support} .*{re.escape(f1)}", words)
        assert f"{change.newly_wrong} {change.newly_right} {change.p:.3f} {change.p_holm:.3f}" in words


def test_older_results_lack_only_the_newer_fields(make: Make, tmp_path: Path) -> None:
    bundle = make(older=True)
    assert len(bundle_charts(load_facts(bundle), None)) == 8  # no stages, no reliability, no robustness
    write_report([bundle], ReportFiles(markdown=tmp_path / "out.md"))
    words = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert not [
        title for title in ("Time of each stage", "corrupted photos", "p, Holm", "peak memory") if title in words
    ]
    assert "Quality of the probabilities" in words


def test_gallery_shows_every_flip_with_its_photo(text: str, usual: Bundle) -> None:
    result = load_result(usual, Evaluation, "evaluate-test")
    assert result is not None
    top1 = [column.top1 for column in inline(result).candidates.values()]
    answers = zip(inline(result).paths, *top1, strict=True)
    flipped = [path for path, *classes in answers if len(set(classes)) > 1]
    assert 0 < len(flipped) <= 48
    gallery = text[text.index('class="gallery"') :]
    assert gallery.count("data:image/jpeg;base64,") == len(flipped)
    assert all(f"<small>{path}</small>" in gallery for path in flipped)


def test_gallery_explains_missing_photos_and_counts_the_rest(make: Make, data: Path, tmp_path: Path) -> None:
    facts = load_facts(make(noise={"int8": 3.0}))
    flips = facts.flips()
    without_data = gallery_of(facts, None)
    assert f"and {len(flips) - 48} more" in without_data.note
    assert "no data folder was given" in " ".join(without_data.introduction)
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    (copy / "test" / flips[0].path).unlink()
    changed = gallery_of(facts, copy)
    assert "1 photos are not shown" in " ".join(changed.introduction)
    assert "has changed since the evaluation" in " ".join(changed.introduction)
    assert sum(photo.thumbnail is not None for photo in changed.photos) == 47


def test_gallery_takes_a_listing_in_place_of_the_folder(usual: Bundle, data: Path, tmp_path: Path) -> None:
    rows = [f"{path.absolute()},{path.parent.name},test" for path in (data / "test").rglob("*.jpg")]
    (tmp_path / "list.csv").write_text("\n".join(["path,class,split", *rows]))
    facts = load_facts(usual)
    assert gallery_of(facts, tmp_path / "list.csv") == gallery_of(facts, data)


def test_gallery_reads_nothing_outside_the_split(make: Make, data: Path) -> None:
    bundle = make(noise={"int8": 0.5})
    outside = data / "outside.jpg"
    shutil.copyfile(next((data / "test").rglob("*.jpg")), outside)
    file = bundle.path / "results/evaluate-test.json"
    result = json.loads(file.read_text())
    paths = [str(outside), "../outside.jpg"]
    result["predictions"]["paths"] = [paths[index % 2] for index in range(900)]
    file.write_text(json.dumps(result))
    photos = gallery_of(load_facts(bundle), data).photos
    assert photos
    assert {photo.thumbnail for photo in photos} == {None}


def test_names_cannot_become_markup(make: Make, hostile: Path, tmp_path: Path) -> None:
    bundle = make(name='a<b>&"c', photos=hostile, noise={"int8": 3.0})
    write_report([bundle], ReportFiles(tmp_path / "out.html"), sources=Sources(hostile))
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    parsed = Page(text)
    assert HOSTILE.lower() not in text.lower()
    assert HOSTILE in parsed.text
    assert 'a<b>&"c: ' in parsed.text
    assert parsed.tags.count("script") == 11 + 2  # the charts' specifications, Vega, the start
    specifications = re.findall(r'<script type="application/json">(.*?)</script>', text, re.S)
    assert any(HOSTILE in str(json.loads(specification)) for specification in specifications)


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"weights": "none", "size": 48, "class_weights": True},
        {"backbone": "vgg16", "lr": 1e-4, "freeze_until": "features.17", "augment": "light"},
    ],
    ids=str,
)
def test_the_flags_in_how_to_reproduce_make_the_same_recipe(choices: dict[str, Any]) -> None:
    recipe = make_recipe(**choices)
    words = recipe_flags(recipe.to_dict())
    assert len(words) >= len(choices)
    settings: dict[str, Any] = {}
    while words:
        name = words.pop(0).removeprefix("--").replace("-", "_")
        kind = type(getattr(recipe, name))
        settings[name] = True if kind is bool else kind(words.pop(0))
    assert make_recipe(**settings) == recipe


def test_how_to_reproduce_shows_only_the_name_of_a_weights_file() -> None:
    assert recipe_flags(make_recipe(weights="/home/me/a b.pth").to_dict())[-2:] == ["--weights", "'a b.pth'"]


def test_how_to_reproduce_names_the_bundle_of_quantization_aware_training() -> None:
    qat = {"qat": "models/a", "qat_sha256": "00", "epochs_head": 0, "epochs": 2, "lr": 2e-5, "weight_decay": 0.0}
    recipe = Recipe(backbone="vgg16", weights="models/a/w.safetensors", label_smoothing=0.0, augment="light", **qat)  # type: ignore[arg-type]
    assert recipe_flags(recipe.to_dict()) == ["--qat", "a"]
    assert recipe_flags(replace(recipe, epochs=5).to_dict()) == ["--epochs", "5", "--qat", "a"]


def test_absent_parts_are_left_out(make: Make, tmp_path: Path) -> None:
    write_report([make(measured=False, provenance=False)], ReportFiles(tmp_path / "out.html"))
    words = Page((tmp_path / "out.html").read_text(encoding="utf-8")).text
    assert "Not measured yet: vegrt bench" in words
    assert not [
        title for title in ("Training", "Int8 calibration", "Engines", "Accuracy and speed", "leaked") if title in words
    ]
    assert "How to reproduce" in words


def test_with_an_audit_accuracy_is_shown_without_leaked_photos_too(make: Make, tmp_path: Path) -> None:
    bundle = make(audited=True)
    write_report([bundle], ReportFiles(markdown=tmp_path / "out.md"))
    words = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert "180 of 900 test photos have a near duplicate in train or validation" in words
    evaluation = load_result(bundle, Evaluation, "evaluate-test")
    assert evaluation is not None
    clean = evaluation.candidates[0].without_leaks
    assert clean is not None
    assert f"{100 * clean.top1.value:.2f}" in words.partition("Accuracy with and without leaked photos")[2]


def test_without_evaluation_no_accuracy_is_claimed(make: Make, tmp_path: Path) -> None:
    write_report([make(evaluated=False)], ReportFiles(tmp_path / "out.html"))
    words = Page((tmp_path / "out.html").read_text(encoding="utf-8")).text
    assert "Nothing has been evaluated yet" in words
    assert not [
        word for word in ("PASS", "Confusion matrix", "changed their answer", "changed answers") if word in words
    ]


def test_failure_leaves_the_previous_report(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, out = make(evaluated=False, provenance=False), tmp_path / "out" / "report.html"
    out.parent.mkdir()
    out.write_text("former")

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(VegrtError, match="No space left"):
        write_report([bundle], ReportFiles(out))
    assert [file.name for file in out.parent.iterdir()] == ["report.html"]
    assert out.read_text() == "former"


def test_no_results_writes_nothing(make: Make, tmp_path: Path) -> None:
    with pytest.raises(VegrtError, match="vegrt evaluate"):
        write_report([make(evaluated=False, measured=False)], ReportFiles(tmp_path / "out.html"))
    assert not (tmp_path / "out.html").exists()
