"""A machine that others use, or whose timings scatter, makes a benchmark noisy; tables and comparisons say so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.command_line import answer, call
from vegrt.bundle.bundle import Bundle
from vegrt.evaluate.benchmark.noise import measure_noise, start_meter
from vegrt.evaluate.benchmark.statistics import summarize_times
from vegrt.evaluate.wording import noise_warning
from vegrt.infer.runtimes.candidates import Candidate, candidate_row
from vegrt.results.benchmark import Bench, BenchCandidate, Timing
from vegrt.results.convert import fields_of, to_dict
from vegrt.results.header import header_fields


def candidate_with(low_ms: float, high_ms: float) -> BenchCandidate:
    timing = Timing(batch=1, p50_ms=10.0, p50_low_ms=low_ms, p50_high_ms=high_ms, images_per_s=100.0)
    return BenchCandidate(
        key="fp32/onnxruntime",
        variant="fp32",
        runtime="onnxruntime",
        artifact_sha256="0" * 64,
        size_bytes=1,
        batches=(timing,),
    )


QUIET, WIDE = [candidate_with(9.9, 10.1)], [candidate_with(8.0, 13.0)]


@pytest.mark.parametrize(
    ("load", "others", "rows", "words"),
    [
        (0.1, 0.02, QUIET, ""),
        (9.0 * (os.cpu_count() or 1), 0.02, QUIET, ""),  # of what ended before it began
        (0.1, 0.35, QUIET, "other programs used 35% of the cores"),
        (9.0 * (os.cpu_count() or 1), None, QUIET, "load average"),
        (0.1, None, QUIET, ""),
        (0.1, 0.02, WIDE, "half of the intervals are wider than 50% of their median"),
        (None, None, [], ""),
    ],
)
def test_noisy_machines(load: float | None, others: float | None, rows: list[BenchCandidate], words: str) -> None:
    noise = measure_noise(load, others, rows)
    assert noise.is_noisy == bool(words)
    assert words in noise_warning(noise)


def test_older_results_are_taken_as_quiet() -> None:
    assert noise_warning(None) == ""


def test_cpu_time_of_other_programs_is_separated_from_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, cores = tmp_path / "stat", sorted(os.sched_getaffinity(0))

    def spend(seconds: float) -> None:
        ticks = int(seconds * os.sysconf("SC_CLK_TCK"))
        stat.write_text(f"cpu  9 9 9 9\ncpu{cores[0]} {ticks} 0 0 999 99 0 0 0 7 7\nintr 1 2\n")

    for own_s, expected in ((0.0, 0.5), (0.5 * len(cores), 0.0)):
        spend(100.0)
        meter = start_meter(stat)
        spend(100.0 + 0.5 * len(cores))
        monkeypatch.setattr("time.perf_counter", lambda at=meter.began_s: at + 1.0)
        monkeypatch.setattr("time.process_time", lambda at=meter.own_s, own=own_s: at + own)
        assert meter.others_share() == pytest.approx(expected, abs=0.02)
        monkeypatch.undo()
    stat.unlink()
    assert start_meter(stat).others_share() is None


def test_the_share_of_other_programs_is_measured_here() -> None:
    others = start_meter().others_share()
    assert others is None or 0 <= others <= 1


def test_a_comparison_says_which_result_was_noisy(bundle: Bundle, tmp_path: Path) -> None:
    candidate = Candidate("fp32", "onnxruntime")
    for name, rows in (("a", QUIET), ("b", WIDE)):
        timing = summarize_times(1, [0.01 + number / 1e5 for number in range(10)])
        row = BenchCandidate(**fields_of(candidate_row(bundle, candidate)), batches=(timing,))
        noise = measure_noise(0.1, 0.0, rows)
        result = Bench(**header_fields(bundle, Bench.KIND), noise=noise, candidates=(row,))
        (tmp_path / f"{name}.json").write_text(json.dumps(to_dict(result)))
    words = ["compare", tmp_path / "a.json", tmp_path / "b.json"]
    shown = answer(*words)
    assert shown["schema_version"] == 2
    assert (shown["pairs"][0]["base"]["noise"]["wide"], shown["pairs"][0]["new"]["noise"]["wide"]) == (False, True)
    assert "b.json: noisy" in "".join(call(*words).stdout.split("\n"))
