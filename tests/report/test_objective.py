"""One number decides: the report's sentence quotes it, its table shows it, and `infer` chooses by it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vegrt.bundle.bundle import Bundle
from vegrt.evaluate.wording import noise_warning
from vegrt.infer.runtimes.choice import choose
from vegrt.infer.runtimes.objective import OBJECTIVES, Objective
from vegrt.report.card.card import Claims, card_markdown
from vegrt.report.facts.facts import Facts, ReportRequest, load_facts
from vegrt.report.language.language import using_language
from vegrt.report.speed import speed_up
from vegrt.report.summary import summary_rows
from vegrt.report.verdict import conclude
from vegrt.results.benchmark import BenchCandidate, Noise

Make = Callable[..., Bundle]
KEYS = ("fp32/onnxruntime", "int8/onnxruntime", "int8-cpu/onnxruntime", "fp32/openvino", "int8-cpu/openvino")
TIME_MS = st.floats(0.1, 100).map(lambda value: round(value, 2))
ROW = st.tuples(TIME_MS, TIME_MS, st.sampled_from(["PASS", "PASS", "INCONCLUSIVE", "FAIL"]))


@pytest.fixture
def random_table(make: Make) -> Callable[[list[tuple[float, float, str]], Objective], Facts]:
    """A function that sets the results' times (of one photo, of 16) and verdicts; the first row is the reference."""
    bundle = make(speed_ms=dict.fromkeys(KEYS, 10.0), provenance=False)
    results = bundle.path / "results"
    evaluation, bench = (json.loads((results / f"{name}.json").read_text()) for name in ("evaluate-test", "bench"))

    def filled(values: list[tuple[float, float, str]], objective: Objective) -> Facts:
        for number, (single, many, verdict) in enumerate(values):
            evaluation["candidates"][number]["gate"]["verdict"] = verdict if number else "REFERENCE"
            for point, ms in zip(bench["candidates"][number]["batches"], (single, many), strict=True):
                point |= {"p50_ms": ms, "images_per_s": 1e3 * point["batch"] / ms, "samples_ms": [ms] * 6}
        (results / "evaluate-test.json").write_text(json.dumps(evaluation))
        (results / "bench.json").write_text(json.dumps(bench))
        return load_facts(bundle, request=ReportRequest(objective))

    return filled


@pytest.mark.parametrize("objective", OBJECTIVES)
@given(values=st.lists(ROW, min_size=len(KEYS), max_size=len(KEYS)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_row_of_the_table_is_faster_than_the_quoted_one(
    random_table: Callable[..., Facts], objective: Objective, values: list[tuple[float, float, str]]
) -> None:
    facts = random_table(values, objective)
    compared = summary_rows(facts)
    conclusion = conclude(facts, compared)
    assert conclusion.chosen is not None
    assert conclusion.to_ship is not None
    passed = [row for row in compared if row.verdict == "PASS"]
    quoted = " ".join(map(str, conclusion.statements))
    shown = {row.key: row.cells()[7 if objective == "latency" else 9] for row in compared}
    if objective == "latency":
        assert f" {shown[conclusion.chosen.key]} ms per photo" in quoted
        assert not [row for row in passed if (row.p50_ms or 0) < (conclusion.chosen.p50_ms or 0)]
    else:
        assert f" {shown[conclusion.chosen.key]} photos per second" in quoted
        assert not [row for row in passed if (row.images_per_s or 0) > (conclusion.chosen.images_per_s or 0)]
    choice = str(choose(facts.bundle, objective=objective).candidate)
    assert choice == conclusion.to_ship.key
    assert (conclusion.outcome == "PASS") == bool(passed)
    if passed and conclusion.to_ship.verdict == "REFERENCE":
        assert "but is no faster" in conclusion.headline
        assert "File to ship: fp32.onnx (fp32 on ONNX Runtime): it is the fastest." in quoted
    commands = card_markdown(facts, Claims())
    flags = f"--variant {conclusion.to_ship.variant} --runtime {conclusion.to_ship.runtime}"
    assert (flags in commands) == bool(passed)


def test_the_two_objectives_pick_two_candidates(random_table: Callable[..., Facts]) -> None:
    values = [(10.0, 160.0, "")] + [(9.0, 99.0, "FAIL")] * 2 + [(2.2, 40.0, "PASS"), (2.4, 20.0, "PASS")]
    for objective, key, words in (
        ("latency", "fp32/openvino", r"Speed: 2\.20 ms per photo"),
        ("throughput", "int8-cpu/openvino", r"Speed: 800 photos per second in batches of 16"),
    ):
        facts = random_table(values, objective)
        conclusion = conclude(facts, summary_rows(facts))
        assert conclusion.chosen is not None
        assert conclusion.chosen.key == key
        assert re.search(words, " ".join(map(str, conclusion.statements)))
        with using_language("ko"):
            assert (
                "초당 800장" in " ".join(map(str, conclude(facts, summary_rows(facts)).statements))
                or objective == "latency"
            )


def test_a_ratio_has_its_interval_and_is_no_difference_where_that_includes_1(make: Make) -> None:
    facts = load_facts(make(provenance=False))
    reference, *_, chosen = compared = summary_rows(facts)
    ratio = speed_up(facts, chosen, reference)
    assert ratio is not None
    assert ratio.low < ratio.value < ratio.high
    text = " ".join(map(str, conclude(facts, compared).statements))
    assert f"{ratio.value:.1f}× as fast as fp32 on ONNX Runtime ({ratio.low:.1f} to {ratio.high:.1f})" in text
    wide = load_facts(make(name="wide", provenance=False))
    assert wide.bench is not None
    wide = replace(wide, bench=replace(wide.bench, candidates=tuple(map(spread, wide.measured()))))
    assert "no faster than fp32 on ONNX Runtime (0." in " ".join(
        map(str, conclude(wide, summary_rows(wide)).statements)
    )


def spread(candidate: BenchCandidate) -> BenchCandidate:
    """The candidate with timings far apart."""
    factors = (0.1, 0.2, 1.0, 1.0, 9.0, 12.0)
    timings = (
        replace(timing, samples_ms=tuple(timing.p50_ms * factor for factor in factors)) for timing in candidate.batches
    )
    return replace(candidate, batches=tuple(timings))


def test_rounds_that_were_interleaved_are_paired(make: Make) -> None:
    facts = load_facts(make(provenance=False))
    assert facts.bench is not None
    reference, *_, chosen = summary_rows(facts)
    assert [ratio.paired for ratio in [speed_up(facts, chosen, reference)] if ratio] == [False]
    facts = replace(facts, bench=replace(facts.bench, scenario="interleaved"))
    assert [ratio.paired for ratio in [speed_up(facts, chosen, reference)] if ratio] == [True]


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({"busy": False, "wide": False}, None),
        (
            {"busy": True, "wide": False},
            "other programs used 40% of the cores; the load average was 1.5 on 2 cores at the start. Repeat",
        ),
        ({"busy": False, "wide": True}, "half of the intervals are wider than 22% of their median. Repeat"),
        ({"busy": True, "wide": False, "others_share": None}, "Noisy times: the load average was 1.5 on 2 cores"),
    ],
)
def test_noise_is_reported(make: Make, noise: dict[str, Any], words: str | None) -> None:
    quiet = {"load_average": 1.5, "installed_cores": 2, "others_share": 0.4, "interval_share": 0.22}
    facts = load_facts(make(provenance=False))
    assert facts.bench is not None
    bench = replace(facts.bench, noise=Noise(**(quiet | noise)))
    facts = replace(facts, bench=bench)
    text = " ".join(map(str, conclude(facts, summary_rows(facts)).statements))
    assert (words or "Repeat") in text if words else "Repeat" not in text
    assert (noise_warning(bench.noise) == "") == (words is None)
    assert noise_warning(None) == ""
