"""The margin that a number of photos can decide, and what the gate says and exits with where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import call
from vegrt.bundle.bundle import Bundle
from vegrt.evaluate.paired import Margin, compare_top1, gate
from vegrt.evaluate.statistics import decidable_margin, tango, verdict_of


@pytest.mark.parametrize(("images", "points"), [(359, 1.1), (60, 6.1), (765, 0.5), (764, 0.6), (3000, 0.2)])
def test_the_decidable_margin_is_the_smallest(images: int, points: float) -> None:
    assert decidable_margin(images) == points
    unchanged = tango(0, 0, images)
    assert verdict_of(unchanged, points / 100) == "PASS"
    assert verdict_of(unchanged, (points - 0.1) / 100) == "INCONCLUSIVE"


@pytest.mark.parametrize("images", [1, 2, 7, 1000, 10**7])
def test_any_number_of_photos_decides_some_margin(images: int) -> None:
    assert verdict_of(tango(0, 0, images), decidable_margin(images) / 100) == "PASS"


def test_a_margin_below_the_decidable_one_is_undecided_even_without_a_change() -> None:
    labels = np.zeros(359, int)
    unchanged = compare_top1(labels, labels, labels)
    assert gate(unchanged, 359, Margin.of(0.5, 359)).verdict == "INCONCLUSIVE"
    auto = Margin.of(None, 359)
    assert (auto.points, auto.decidable, auto.auto) == (1.1, 1.1, True)
    assert gate(unchanged, 359, auto).verdict == "PASS"
    spread = labels.copy()
    spread[:4] = 1
    assert gate(compare_top1(labels, spread, labels), 359, Margin.of(1.5, 359)).verdict == "INCONCLUSIVE"


def test_the_exit_code_can_be_mapped_and_the_verdict_stays(copied: Bundle, photos: Path) -> None:
    words = ("evaluate", copied.path, "--data", photos, "--runtime", "onnxruntime", "--json")
    for mapped, code in (((), 4), (("--inconclusive", "fail"), 3), (("--inconclusive", "pass"), 0)):
        shown = call(*words, *mapped)
        assert shown.exit_code == code, shown.output
        body = json.loads(shown.stdout)
        assert {row["gate"]["verdict"] for row in body["candidates"]} == {"REFERENCE", "INCONCLUSIVE"}
        assert (body["margin_points"], body["margin_auto"], body["decidable_margin_points"]) == (0.5, False, 6.1)


def test_auto_takes_the_margin_of_the_photos_and_says_so(copied: Bundle, photos: Path) -> None:
    words = ("evaluate", copied.path, "--data", photos, "--runtime", "onnxruntime", "--margin", "auto")
    shown = call(*words)
    assert "margin 6.1 points (auto" in " ".join(shown.stdout.split())
    body = json.loads((copied.path / "results/evaluate-test-only-onnxruntime.json").read_text())
    assert (body["margin_points"], body["margin_auto"]) == (6.1, True)
    gates = {row["variant"]: row["gate"] for row in body["candidates"]}
    assert gates["fp16"]["verdict"] == "PASS"  # equal but for near ties, and there are none
    for wrong in ("-1", "101", "nan", "inf", "much"):
        assert call(*words[:-1], wrong).exit_code == 2
