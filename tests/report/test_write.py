"""The Markdown and pictures of a report; reports on several bundles and devices, and with an audit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import altair as alt
import numpy as np
import pytest
from PIL import Image

from vegrt.bundle.bundle import Bundle
from vegrt.errors import DataError, VegrtError
from vegrt.report.facts.benches import read_bench_files
from vegrt.report.facts.facts import load_facts
from vegrt.report.figures import bundle_charts
from vegrt.report.summary import HEADINGS, summarize
from vegrt.report.verdict import conclude
from vegrt.report.write import ReportFiles, Sources, write_report
from vegrt.train.data.audit_file import Pair, ReportedAudit, read_reported_audit

Make = Callable[..., Bundle]
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
NAMES = (
    *("accuracy-latency", "throughput", "stage-times", "flips-per-class", "confusion", "reliability", "robustness"),
    *("training-loss", "training-accuracy", "tournament", "sensitivity"),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, usual: Bundle, data: Path) -> Path:
    """A folder with report.md, and pictures in png/ and svg/. Read only."""
    folder = tmp_path_factory.mktemp("written")
    outputs = ReportFiles(markdown=folder / "report.md", png=folder / "png", svg=folder / "svg")
    files = write_report([usual], outputs, sources=Sources(data))
    assert files == [
        folder / "report.md",
        *(folder / kind / f"{name}.{kind}" for kind in ("png", "svg") for name in NAMES),
    ]
    return folder


def test_markdown_holds_the_comparison_and_links_to_the_pictures(written: Path, usual: Bundle) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines.index("**PASS**") < lines.index("### Comparison")
    assert f"| {' | '.join(HEADINGS)} |" in lines
    for row in summarize(usual):
        assert f"| {' | '.join(row.cells())} |" in [line.replace(NO_BREAK_SPACE, " ") for line in lines]
    links = re.findall(r"!\[[^\]]+\]\(<([^>]+)>\)", text)
    assert [Path(link).stem for link in links] == [*NAMES]
    assert all((written / unquote(link)).is_file() for link in links)
    assert "The photos are in the HTML report only." in text
    assert "| minmax | signed | 99.10% | 0.009 | stopped after the 64 hardest photos (flips) |" in lines


def test_no_line_of_a_table_breaks_within_an_interval(written: Path) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    intervals = re.findall(r"\([-+]?[\d.]+\sto\s[-+]?[\d.]+\)(?= \|)", text)
    assert len(intervals) > 3
    assert {character for interval in intervals for character in interval if character.isspace()} == {NO_BREAK_SPACE}


def test_every_table_of_the_markdown_is_whole(written: Path) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.M)
    assert len(tables) > 10
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_drawn_on_white(written: Path, name: str) -> None:
    with Image.open(written / f"png/{name}.png") as image:
        assert image.width > 1400
        pixels = image.convert("RGB")
        assert pixels.getpixel((1, 1)) == (255, 255, 255)
        values = np.asarray(pixels.resize((200, 150)), np.int_)
        coloured = int((np.ptp(values, axis=2) > 60).sum())
        assert coloured > 40, "no mark in it"
    svg = (written / f"svg/{name}.svg").read_text(encoding="utf-8")
    assert 'fill="white"' in svg
    assert "<image" not in svg


def test_every_chart_is_valid_vega_lite(usual: Bundle) -> None:
    facts = load_facts(usual)
    for chart in bundle_charts(facts, conclude(facts, summarize(usual)).chosen).values():
        for panel in chart.panels:
            alt.LayerChart.from_dict({name: part for name, part in panel.items() if name != "config"})


def test_names_cannot_become_markdown(make: Make, hostile: Path, tmp_path: Path) -> None:
    bundle = make(name="a|b *c* [d](e)", photos=hostile, noise={"int8": 3.0})
    write_report([bundle], ReportFiles(markdown=tmp_path / "out.md"))
    text = (tmp_path / "out.md").read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    assert "# Deployment report: a\\|b \\*c\\* \\[d\\](e)\n" in text
    assert "\\<script\\>alert(1)\\<" in prose
    assert not re.search(r"(?<!\\)<(?!\S+\.png>)", prose)


def test_several_bundles_are_compared_first_and_have_folders_of_their_own(make: Make, tmp_path: Path) -> None:
    speed = {"fp32/onnxruntime": 10.0, "int8-cpu/onnxruntime": 4.0}
    bundles = [make(name=name, provenance=False, older=True, speed_ms=speed) for name in ("resnet18", "vgg16")]
    files = write_report(bundles, ReportFiles(tmp_path / "out.html", png=tmp_path / "png"))
    names = {str(file.relative_to(tmp_path)) for file in files}
    assert {"out.html", "png/overview.png", "png/resnet18/throughput.png", "png/vgg16/throughput.png"} <= names
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    first, second, third = re.findall(r"<article.*?</article>", text, re.S)
    assert "All bundles" in first
    assert re.findall(r"<p>(\w+): [^<]*\((?:PASS|INCONCLUSIVE|FAIL)\)</p>", first) == ["resnet18", "vgg16"]
    assert re.findall(r'<th scope="row">(\w+)</th>', first) == ["resnet18", "resnet18", "vgg16", "vgg16"]
    assert ">resnet18: " in second
    assert ">vgg16: " in third
    identifiers = re.findall(r' id="(part[^"]+)"', text)
    assert len(identifiers) == len(set(identifiers))


def test_two_bundles_of_one_name_do_not_write_over_each_other(make: Make, tmp_path: Path) -> None:
    speed = {"fp32/onnxruntime": 10.0, "int8/onnxruntime": 4.0}
    bundles = [
        make(name=name, provenance=False, older=True, evaluated=False, speed_ms=speed)
        for name in ("one/same", "other/same")
    ]
    files = write_report(bundles, ReportFiles(png=tmp_path / "png"))
    assert len(files) == len(set(files))
    assert {file.parent.name for file in files} == {"same-1", "same-2"}


def test_another_device_has_panels_of_its_own(make: Make, tmp_path: Path) -> None:
    bundle = make(speed_ms={"fp32/onnxruntime": 10.0, "int8/onnxruntime": 4.0})
    elsewhere = copied_bench(bundle, tmp_path, cpu="Cortex-A78AE", cores=6.0)
    facts = load_facts(bundle, benches=read_bench_files([elsewhere]))
    assert list(facts.benches())[1] == "Cortex-A78AE, 6 cores"
    drawn = bundle_charts(facts, None)
    for name in ("accuracy-latency", "throughput"):
        on_this_machine, on_the_other = (panel["title"] for panel in drawn[name].panels)
        assert (on_this_machine in facts.benches(), on_the_other) == (True, "Cortex-A78AE, 6 cores")
    write_report(
        [bundle], ReportFiles(markdown=tmp_path / "out.md"), sources=Sources(benches=read_bench_files([elsewhere]))
    )
    assert "Measured on Cortex-A78AE, 6 cores" in (tmp_path / "out.md").read_text(encoding="utf-8")


def test_another_devices_rows_of_other_artifacts_are_left_out(make: Make, tmp_path: Path) -> None:
    bundle = make(speed_ms={"fp32/onnxruntime": 10.0, "int8/onnxruntime": 4.0})
    elsewhere = copied_bench(bundle, tmp_path, cpu="Orin")
    content = json.loads(elsewhere.read_text())
    content["candidates"][0]["artifact_sha256"] = "0" * 64
    elsewhere.write_text(json.dumps(content))
    (bench,) = load_facts(bundle, benches=read_bench_files([elsewhere])).other_benches
    assert [row.key for row in bench.candidates] == ["int8/onnxruntime"]
    content["candidates"][1]["artifact_sha256"] = "1" * 64
    elsewhere.write_text(json.dumps(content))
    with pytest.raises(VegrtError, match="a benchmark of other artifacts than those of"):
        write_report(
            [bundle], ReportFiles(markdown=tmp_path / "out.md"), sources=Sources(benches=read_bench_files([elsewhere]))
        )


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"schema": "vegrt-evaluate", "schema_version": 1, "candidates": []}']
)
def test_a_file_that_is_no_benchmark_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bench.json").write_text(content)
    with pytest.raises(VegrtError, match=r"bench\.json: not a benchmark"):
        read_bench_files([tmp_path / "bench.json"])


def test_an_audit_of_these_photos_is_summed_up_and_another_is_not_used(make: Make, tmp_path: Path) -> None:
    bundle = make(evaluated=True, measured=False)
    audit = audit_of(bundle)
    write_report([bundle], ReportFiles(markdown=tmp_path / "out.md"), sources=Sources(audits=[audit]))
    text = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert "| leaked test photos | 2 of 900 |" in text
    assert "| near duplicates | 2 pairs, 1 of them across splits |" in text
    assert "| Bean | 150 | 7 |" in text
    foreign = replace(audit, fingerprints={"test": "0" * 64})
    write_report([bundle], ReportFiles(markdown=tmp_path / "out.md"), sources=Sources(audits=[foreign]))
    assert "No audit of these photos is available" in (tmp_path / "out.md").read_text(encoding="utf-8")


def test_a_damaged_audit_is_refused(tmp_path: Path) -> None:
    for content in ("", "{}", json.dumps({"format": "other", "format_version": 1})):
        (tmp_path / "audit.json").write_text(content)
        with pytest.raises(DataError, match=r"audit\.json: damaged audit"):
            read_reported_audit(tmp_path / "audit.json")


def test_korean_has_no_english_left(make: Make, tmp_path: Path, data: Path) -> None:
    bundle = make(noise={"int8": 0.5}, audited=True)
    outputs = ReportFiles(tmp_path / "out.html", markdown=tmp_path / "out.md")
    write_report([bundle], outputs, sources=Sources(data, audits=[audit_of(bundle)]), language="ko")
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert '<html lang="ko">' in text
    elements = re.findall(r"<(h1|h2|h3|p|figcaption|caption|a|th)\b[^>]*>(.*?)</\1>", text, re.S)
    texts = {re.sub(r"<[^>]+>", " ", content).strip() for name, content in elements if name != "th"}
    english = {words for words in texts if re.search("[a-z]{3}", words) and not re.search("[가-힣]", words)}
    assert english == set()
    labels = re.findall(r'class="(?:plot|scroll|contents)" (?:role="\w+" )?aria-label="([^"]+)"', text)
    assert len(labels) > 20
    assert [label for label in labels if not re.search("[가-힣]", label)] == []
    headings = re.findall(r"^#+ .*$", (tmp_path / "out.md").read_text(encoding="utf-8"), re.M)
    assert len(headings) > 10
    assert all(re.search("[가-힣]", heading) for heading in headings)


def copied_bench(bundle: Bundle, folder: Path, **machine: Any) -> Path:
    """The bundle's own benchmark as another device would have written it."""
    content = json.loads((bundle.path / "results/bench.json").read_text(encoding="utf-8"))
    content["machine"] |= machine
    file = folder / "elsewhere.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def audit_of(bundle: Bundle) -> ReportedAudit:
    """An audit of the bundle's photos."""
    return ReportedAudit(
        fingerprints={"test": bundle.manifest.data["test"]["fingerprint"]},
        counts={"test": bundle.manifest.data["test"]["counts"], "train": {"Bean": 7}},
        near_pairs=[Pair("a", "b", 3.0, mirrored=False, cross_split=across) for across in (True, False)],
        leaked_test_images={"train": ["Bean/0001.jpg"], "validation": ["Bean/0001.jpg", "Bean/0002.jpg"]},
    )
