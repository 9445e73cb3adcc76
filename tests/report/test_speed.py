"""The shares of the CPU's limits in the report: the sentence, the lines of the chart, and silence without a measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vegrt.bundle.bundle import Bundle
from vegrt.evaluate.benchmark.limits import add_limits
from vegrt.report.comparisons import speed_section
from vegrt.report.facts.facts import Facts, load_facts
from vegrt.report.figures import bundle_charts
from vegrt.report.html.blocks import Text
from vegrt.report.language.language import using_language
from vegrt.report.speed import limit_sentences, limits_per_s
from vegrt.results.benchmark import MachineLimit

Make = Callable[..., Bundle]
MACS = 18 * 10**8
LIMITS = (
    MachineLimit("onnxruntime", "float32", 2, 180e9),  # 100 photos per second
    MachineLimit("openvino", "float32", 2, 170e9),
    MachineLimit("openvino", "int8", 2, 720e9),  # 400 photos per second
)
SPEED_MS = {"fp32/onnxruntime": 20.0, "int8-cpu/onnxruntime": 10.0, "int8-cpu/openvino": 5.0}


@pytest.fixture
def limited(make: Make) -> Facts:
    """Facts with 50 photos per second in float32 and 100 and 200 in 8 bits, at batch 1; batch 16 is faster by 16**0.12."""
    facts = load_facts(make(speed_ms=SPEED_MS, provenance=False))
    assert facts.bench is not None
    return replace(facts, bench=add_limits(replace(facts.bench, threads=2), LIMITS, MACS))


def rows_with(part: Any, name: str) -> list[dict[str, Any]]:
    """Return the rows of a chart, anywhere in its specification, that have a number under `images_per_s` and this field."""
    if isinstance(part, list):
        return [row for inner in part for row in rows_with(inner, name)]
    if not isinstance(part, dict):
        return []
    own = [part] if name in part and isinstance(part.get("images_per_s"), float) else []
    return own + [row for inner in part.values() for row in rows_with(inner, name)]


def test_the_largest_share_of_each_arithmetic_is_said_once(limited: Facts) -> None:
    assert limited.bench is not None
    best = {row.key: max(point.limit_share or 0 for point in row.batches) for row in limited.bench.candidates}
    first, second = limit_sentences(limited).split(". ")
    float32, int8 = (f"{best[key]:.0%}" for key in ("fp32/onnxruntime", "int8-cpu/openvino"))
    assert 0.6 < best["fp32/onnxruntime"] < 0.8
    assert first == (
        f"fp32 on ONNX Runtime runs resnet18 at {float32} of what this CPU can multiply in float32 (180 GMAC/s)"
    )
    assert (
        second == f"int8-cpu on OpenVINO runs resnet18 at {int8} of what this CPU can multiply in 8 bits (720 GMAC/s)."
    )
    with using_language("ko"):
        assert f"{int8}로 실행합니다" in limit_sentences(limited)
    assert Text(limit_sentences(limited), note=True) in speed_section(limited, {}).blocks


def test_winograd_is_named_where_mnn_was_measured(limited: Facts) -> None:
    assert limited.bench is not None
    rows = tuple(replace(row, runtime="mnn", key="fp32/mnn") for row in limited.bench.candidates[:1])
    with_mnn = replace(limited, bench=replace(limited.bench, candidates=rows))
    assert "Winograd" not in limit_sentences(limited)
    assert limit_sentences(with_mnn).endswith("save multiplications, so a share may exceed 100%.")


def test_the_chart_has_a_line_for_each_limit(limited: Facts) -> None:
    assert limited.bench is not None
    assert limits_per_s(limited.bench) == {
        "limit in float32": pytest.approx(100),
        "limit in 8 bits": pytest.approx(400),
    }
    chart = bundle_charts(limited, None)["throughput"]
    lines = {row["limit"]: row["images_per_s"] for row in rows_with(chart.panels[0], "limit")}
    assert lines == {"limit in float32": pytest.approx(100), "limit in 8 bits": pytest.approx(400)}
    assert "Dashed lines" in chart.caption


def test_without_limits_the_report_says_nothing_of_them(make: Make) -> None:
    facts = load_facts(make(speed_ms=SPEED_MS, provenance=False))
    assert facts.bench is not None
    assert (limit_sentences(facts), limits_per_s(facts.bench)) == ("", {})
    assert "Dashed lines" not in bundle_charts(facts, None)["throughput"].caption
