"""Charts: whole numbers on an axis of photos, every candidate, names that no mark crosses."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import vl_convert

from vegrt.bundle.bundle import Bundle
from vegrt.report.charts.answers import flips_per_class_spec
from vegrt.report.charts.theme import integer_axis, runtime_colour
from vegrt.report.facts.facts import load_facts
from vegrt.report.figures import accuracy_latency_chart, stage_times_chart
from vegrt.report.summary import RUNTIMES

Make = Callable[..., Bundle]


def test_every_runtime_has_a_colour_of_its_own() -> None:
    colour: Any = runtime_colour({*RUNTIMES.values(), "ONNX Runtime (CUDA)", "TensorRT (SM89)"}).to_dict()
    scale = colour["scale"]
    assert len(scale["domain"]) == len(RUNTIMES) + 2
    assert len(set(scale["range"])) == len(scale["domain"])


@pytest.mark.parametrize("maximum", [1, 2, 3, 6, 7, 12, 13, 59, 1000, 123456])
def test_an_axis_of_whole_numbers_has_whole_ticks_and_few(maximum: int) -> None:
    values = integer_axis(maximum).to_dict()["values"]
    assert all(isinstance(value, int) for value in values)
    assert values[0] == 0
    assert 2 <= len(values) <= 7
    assert len({after - before for before, after in itertools.pairwise(values)}) == 1


@pytest.mark.parametrize("maximum", [0, 1, 2, 3, 9])
def test_ticks_of_changed_photos_as_drawn(maximum: int) -> None:
    spec = flips_per_class_spec({"Bean": (maximum, 0), "Beet": (0, 1)}, ["Bean", "Beet"], maximum=maximum)
    svg = vl_convert.vegalite_to_svg(spec | {"width": 300}, allowed_base_urls=[])
    ticks = [int(text) for text in re.findall(r">(\d+)</text>", svg)]
    assert ticks == sorted(set(ticks)), "a number stands twice on the axis: 0 1 1 2 2"


def test_every_candidate_is_in_the_chart_of_stages(make: Make) -> None:
    """A candidate whose largest batch is a single photo is drawn too, beside those of 16."""
    facts = load_facts(make(provenance=False))
    keys = [row.key for row in facts.measured()]
    single = [replace(row, stages_ms=row.stages_ms[:1]) for row in facts.measured() if row.stages_ms]
    assert facts.bench is not None
    one_short = replace(facts.bench, candidates=(single[0], *facts.measured()[1:]))
    chart = stage_times_chart(replace(facts, bench=one_short))
    assert chart is not None
    drawn = [panel["layer"][0]["encoding"]["y"]["sort"] for panel in chart.panels]
    assert drawn == [keys, [f"{keys[0]} ×1", *(f"{key} ×16" for key in keys[1:])]]
    alone = stage_times_chart(replace(facts, bench=replace(facts.bench, candidates=tuple(single))))
    assert alone is not None
    assert len(alone.panels) == 1, "a second one would say the same"


def test_the_margin_is_named_beside_the_chart_and_not_in_it(make: Make) -> None:
    chart = accuracy_latency_chart(load_facts(make(provenance=False)))
    assert chart is not None
    (panel,) = chart.panels
    assert [layer for layer in panel["layer"] if layer["mark"]["type"] == "text"] == []
    assert "fp32 − 0.5 points" in str(panel)
