"""Seeded mutations of a bundle's files, through everything that reads them: one error line or an answer, never a traceback.

The mutations are those of tests/slow/fuzz, which runs them through all commands and files.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.slow.fuzz.mutate_text import mutated
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.compare import compare_benches
from vegrt.infer.runtimes.choice import rank_choices
from vegrt.report.card.card import write_card
from vegrt.report.facts.facts import load_facts
from vegrt.report.figures import bundle_charts
from vegrt.report.html.render import to_svg
from vegrt.report.write import ReportFiles, write_report
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result, read_result
from vegrt.results.golden import read_golden

COUNT = 150
FILES = (
    *(["manifest.json"] * 4),
    *(["results/evaluate-test.json"] * 4),
    *(["results/bench.json"] * 3),
    *("results/robustness-test.json", "results/sensitivity.json", "results/curve.json", "golden/golden.json"),
)


@pytest.fixture
def short(usual: Bundle, tmp_path: Path) -> Path:
    """The usual bundle with the answers to twelve photos instead of 900, so that each reading takes milliseconds."""
    shutil.copytree(usual.path, tmp_path / "short")
    file = tmp_path / "short/results/evaluate-test.json"
    body = json.loads(file.read_text(encoding="utf-8"))
    body["candidates"] = body["candidates"][:3]
    predictions = body["predictions"]
    for columns in (predictions, *predictions["candidates"].values()):
        columns |= {name: values[::75] for name, values in columns.items() if isinstance(values, list)}
    file.write_text(json.dumps(body), encoding="utf-8")
    file = tmp_path / "short/results/bench.json"
    body = json.loads(file.read_text(encoding="utf-8"))
    for row in body["candidates"]:
        row["batches"], row["copies"] = row["batches"][:1], []
        row["batches"][0]["samples_ms"] = row["batches"][0]["samples_ms"][:8]
    body |= {"scenario": "interleaved", "candidates": body["candidates"][:3]}
    file.write_text(json.dumps(body), encoding="utf-8")
    (tmp_path / "short/golden").mkdir()
    return tmp_path / "short"


def read_all(path: Path, out: Path, name: str, *, drawn: bool) -> None:
    """Read a bundle in every way that needs no model and uses that file. Raises VegrtError for a refused file."""
    bundle = open_bundle(path, verify=False)
    reads: list[Callable[[], object]] = [
        lambda: rank_choices(bundle),
        lambda: write_report([bundle], ReportFiles(markdown=out / "r.md")),
        lambda: write_card([bundle], out / "card.md"),
    ]
    if name == "golden/golden.json":
        reads.append(lambda: read_golden(bundle))
    if name == "results/bench.json":
        reads.append(lambda: compare_benches([path], "batches"))
    if drawn:
        reads.append(lambda: bundle_charts(load_facts(bundle), None))
    for read in reads:
        with contextlib.suppress(VegrtError):
            read()


def test_no_mutation_ends_in_a_traceback(short: Path, tmp_path: Path) -> None:
    whole = {name: (short / name).read_bytes() for name in set(FILES) if (short / name).is_file()}
    refused = 0
    for seed in range(COUNT):
        draws = random.Random(seed)
        name = draws.choice(FILES)
        content = whole.get(
            name, b'{"images": [{"file": "golden/0.jpg", "label": 0, "pixels_sha256": "", "logits": [0.5]}]}'
        )
        (short / name).write_bytes(mutated(content, draws, is_json=True))
        try:
            read_all(short, tmp_path, name, drawn=seed % 15 == 0)
        except VegrtError:
            refused += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed}, {name}") from error
        finally:
            (short / name).write_bytes(content)
    assert 5 < refused < 60  # of the manifest's


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["candidates"][1].update(size_bytes=0), r"candidates\[1\]\.size_bytes is 0"),
        (
            lambda body: body["candidates"][0]["gate"].update(verdict="PASS"),
            r"candidates\[0\]\.gate\.verdict is PASS; exp",
        ),
        (
            lambda body: body["candidates"][2]["confusion"].pop(),
            r"candidates\[2\]\.confusion has 5 entries; expected 6",
        ),
        (lambda body: body["candidates"][2]["confusion"][0].append(0), r"candidates\[2\]\.confusion has 7 entries"),
        (lambda body: body["candidates"][1].update(without_leaks=None), r"candidates\[1\]\.without_leaks is null"),
        (lambda body: body["candidates"].append(body["candidates"][1]), "candidates has .* twice"),
        (lambda body: body["predictions"]["labels"].pop(), "predictions.labels has 899 entries; expected 900"),
        (lambda body: body["predictions"]["labels"].__setitem__(0, 6), "labels has a label that is none of 6 classes"),
        (
            lambda body: body["predictions"]["candidates"].clear(),
            r"predictions\.candidates\.fp32/onnxruntime is missing",
        ),
        (lambda body: body["candidates"][0]["top1"].update(value="0.9"), r"top1\.value is '0\.9'; expected a number"),
        (lambda body: body["candidates"][0].update(key="\x1b[31m"), r"key is '\\x1b\[31m'"),
        (lambda body: body.update(candidates=[]), "candidates is a list of 0; expected at least one entry"),
        (lambda body: body.update(schema_version=True), "schema version True"),
    ],
)
def test_an_evaluation_with_inconsistent_lists_is_refused(
    make: Any, change: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = make()
    file = bundle.path / "results/evaluate-test.json"
    body = json.loads(file.read_text(encoding="utf-8"))
    change(body)
    file.write_text(json.dumps(body), encoding="utf-8")
    caplog.clear()
    assert load_result(bundle, Evaluation, "evaluate-test") is None
    (warning,) = caplog.messages
    assert "evaluate-test.json: unreadable result (" in warning
    caplog.clear()
    with pytest.raises(VegrtError, match=message):
        read_result(file, Evaluation)
    assert rank_choices(bundle)[0].candidate.variant == "fp32"  # an unreadable result is not used


def test_control_characters_in_a_chart_are_replaced(usual: Bundle) -> None:
    chart = bundle_charts(load_facts(usual), None)["throughput"]
    (panel,) = chart.panels
    hostile = json.loads(json.dumps(panel).replace("fp32", "fp\\u001b[31m32\\u0000\\ud800"))
    assert "fp�[31m32��" in to_svg(hostile | {"width": 200})
