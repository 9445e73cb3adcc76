"""A machine that others use, or whose timings scatter, makes a benchmark noisy; tables and comparisons say so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vegrt.bundle.bundle import Bundle
from vegrt.cli import app
from vegrt.evaluate.benchmark import noise
from vegrt.evaluate.benchmark.noise import describe_noise, is_noisy, listen, noise_words
from vegrt.evaluate.benchmark.statistics import summarize
from vegrt.infer.runtimes.open import Candidate, describe
from vegrt.results.files import header

QUIET = [{"batches": [{"p50_ms": 10.0, "p50_low_ms": 9.9, "p50_high_ms": 10.1}]}]
WIDE = [{"batches": [{"p50_ms": 10.0, "p50_low_ms": 8.0, "p50_high_ms": 13.0}]}]


@pytest.mark.parametrize(
    ("load", "others", "rows", "words"),
    [
        (0.1, 0.02, QUIET, ""),
        (9.0 * (os.cpu_count() or 1), 0.02, QUIET, ""),  # of what ended before it began
        (0.1, 0.35, QUIET, "other programs took 35% of the cores"),
        (9.0 * (os.cpu_count() or 1), None, QUIET, "load average"),
        (0.1, None, QUIET, ""),
        (0.1, 0.02, WIDE, "half of the intervals are wider than 50% of their median"),
        (None, None, [], ""),
    ],
)
def test_what_is_noisy(load: float | None, others: float | None, rows: list[dict[str, Any]], words: str) -> None:
    body = {"noise": describe_noise(load, others, rows)}
    assert is_noisy(body) == bool(words)
    assert words in noise_words(body)
    assert json.loads(json.dumps(body)) == body


def test_older_results_are_taken_as_quiet() -> None:
    assert noise_words({}) == noise_words({"noise": None}) == ""


def test_what_others_take_is_told_from_what_we_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, cores = tmp_path / "stat", sorted(os.sched_getaffinity(0))
    monkeypatch.setattr(noise, "_STAT", stat)

    def spend(seconds: float) -> None:
        ticks = int(seconds * os.sysconf("SC_CLK_TCK"))
        stat.write_text(f"cpu  9 9 9 9\ncpu{cores[0]} {ticks} 0 0 999 99 0 0 0 7 7\nintr 1 2\n")

    for own_s, expected in ((0.0, 0.5), (0.5 * len(cores), 0.0)):
        spend(100.0)
        listener = listen()
        spend(100.0 + 0.5 * len(cores))
        monkeypatch.setattr("time.perf_counter", lambda at=listener.began_s: at + 1.0)
        monkeypatch.setattr("time.process_time", lambda at=listener.own_s, own=own_s: at + own)
        assert listener.others() == pytest.approx(expected, abs=0.02)
        monkeypatch.undo()
        monkeypatch.setattr(noise, "_STAT", stat)
    stat.unlink()
    assert listen().others() is None


def test_this_machine_says_what_others_take() -> None:
    others = listen().others()
    assert others is None or 0 <= others <= 1


def test_a_comparison_says_which_result_was_noisy(bundle: Bundle, tmp_path: Path) -> None:
    candidate = Candidate("fp32", "onnxruntime")
    for name, rows in (("a", QUIET), ("b", WIDE)):
        point = summarize(1, [0.01 + number / 1e5 for number in range(10)])
        row = {**describe(bundle, candidate), "batches": [point]}
        body = header(bundle, "bench") | {"noise": describe_noise(0.1, 0.0, rows), "candidates": [row]}
        (tmp_path / f"{name}.json").write_text(json.dumps(body))
    words = ["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    shown = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert shown["pairs"][0]["base"]["noise"] == ""
    assert shown["pairs"][0]["new"]["noise"].startswith("noisy: half of the intervals")
    assert "b.json: noisy" in "".join(CliRunner().invoke(app, words).stdout.split("\n"))
