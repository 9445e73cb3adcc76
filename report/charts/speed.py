"""The charts of speed: accuracy against latency, throughput against batch size, and the time of each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from vegrt.report.charts.theme import (
    ALERT,
    INK,
    chart_of,
    finish,
    runtime_colour,
    series_colour,
    tooltips,
    variant_shape,
)
from vegrt.report.html.blocks import Spec
from vegrt.report.language.language import translate
from vegrt.report.summary import RUNTIMES, SummaryRow
from vegrt.results.benchmark import BenchCandidate, Stages

_STAGES = ("decode", "prepare", "run", "post")
_BAR_PX = 24
_TIMING_FIELDS = ("batch", "images_per_s", "images_per_s_low", "images_per_s_high", "p50_ms", "p99_ms")


def accuracy_latency_spec(rows: Sequence[SummaryRow], margin_points: float, *, title: str = "") -> Spec:
    """Return top-1 against the time of one photo. rows: at least one, each evaluated and measured."""
    data = [_point(row) for row in rows]
    x = alt.X("p50:Q", title=translate("median latency of one photo, ms (log)"), scale=_log())
    y = alt.Y("top1:Q", title=translate("top-1 accuracy, %"), scale=alt.Scale(zero=False, nice=True))
    base, colour = chart_of(data).encode(x=x), runtime_colour({row.runtime_name for row in rows})
    spread = base.mark_rule(strokeWidth=2, opacity=0.55).encode(
        y=alt.Y("low:Q", title=translate("top-1 accuracy, %")), y2="high:Q", color=colour
    )
    timed = chart_of([point for point in data if "p50_low" in point])
    across = timed.mark_rule(strokeWidth=2, opacity=0.55).encode(x=x.copy(), x2="p50_high:Q", y=y, color=colour)
    across.encoding.x.shorthand = "p50_low:Q"
    shape = variant_shape({row.variant for row in rows})
    marks = base.mark_point(filled=True, size=130, opacity=1).encode(
        y=y, color=colour, shape=shape, tooltip=tooltips(data, _titles())
    )
    layers = [_pareto(data, x, y), spread, *([across] if timed.data.values else []), marks]
    reference = next((row.top1 for row in rows if row.verdict == "REFERENCE"), None)
    if reference:
        layers[:0] = _gate_line(100 * reference.value - margin_points, margin_points)
    return finish(*layers, title=title)


def bundles_latency_spec(rows: Sequence[tuple[str, SummaryRow]], names: Sequence[str], *, title: str = "") -> Spec:
    """Return several bundles' candidates in one chart, a colour for each bundle. rows: with the name of their bundle."""
    data = [_point(row) | {"bundle": name} for name, row in rows]
    x = alt.X("p50:Q", title=translate("median latency of one photo, ms (log)"), scale=_log())
    colour = series_colour("bundle", names)
    base = chart_of(data).encode(x=x, color=colour)
    title_y = translate("top-1 accuracy, %")
    spread = base.mark_rule(strokeWidth=2, opacity=0.4).encode(y=alt.Y("low:Q", title=title_y), y2="high:Q")
    y = alt.Y("top1:Q", title=title_y, scale=alt.Scale(zero=False, nice=True))
    marks = base.mark_point(filled=True, size=130, opacity=1).encode(
        y=y,
        shape=variant_shape({row.variant for _, row in rows}),
        tooltip=tooltips(data, {"bundle": translate("bundle")} | _titles()),
    )
    return finish(_pareto(data, x, y), spread, marks, title=title)


def throughput_spec(
    candidates: Sequence[BenchCandidate], limits: Mapping[str, float] | None = None, *, title: str = ""
) -> Spec:
    """Return images per second against the batch size. limits: images per second at the CPU's limits, by their names."""
    data = [
        {"key": row.key, "variant": row.variant, "runtime": RUNTIMES.get(row.runtime, row.runtime)}
        | {name: value for name in _TIMING_FIELDS if (value := getattr(timing, name)) is not None}
        for row in candidates
        for timing in row.batches
    ]
    base = chart_of(data).encode(
        x=alt.X(
            "batch:O", title=translate("batch size, photos"), axis=alt.Axis(labelAngle=0), scale=alt.Scale(padding=0.3)
        ),
        color=runtime_colour({row["runtime"] for row in data}),
        detail="key:N",
    )
    y = alt.Y("images_per_s:Q", title=translate("photos per second"))
    titles = {
        "variant": translate("variant"),
        "runtime": translate("runtime"),
        "batch": translate("batch size, photos"),
    }
    titles |= {
        "images_per_s": translate("photos per second"),
        "p50_ms": translate("p50 ms"),
        "p99_ms": translate("p99 ms"),
    }
    shape = variant_shape({row["variant"] for row in data})
    layers = [base.mark_line(strokeWidth=1.5, opacity=0.7).encode(y=y)]
    if any("images_per_s_low" in row for row in data):
        low = alt.Y("images_per_s_low:Q", title=translate("photos per second"))
        layers.append(base.mark_rule(strokeWidth=2, opacity=0.55).encode(y=low, y2="images_per_s_high:Q"))
    layers.append(
        base.mark_point(filled=True, size=110, opacity=1).encode(y=y, shape=shape, tooltip=tooltips(data, titles))
    )
    return finish(*(_limit_lines(limits) if limits else ()), *layers, title=title)


def stage_times_spec(stages: Sequence[tuple[str, Stages]], *, title: str = "", with_batch: bool = False) -> Spec:
    """Return the time of each stage as a stacked bar for each candidate.

    stages: candidate and its stages, in milliseconds per photo. with_batch: show the batch size after the candidate.
    """
    words = {
        "decode": translate("decode"),
        "prepare": translate("prepare"),
        "run": translate("run"),
        "post": translate("post-process"),
    }
    data = [
        {
            "key": f"{key} ×{times.batch}" if with_batch else key,
            "stage": words[stage],
            "order": order,
            "ms": float(getattr(times, stage)),
            "batch": times.batch,
        }
        for key, times in stages
        for order, stage in enumerate(_STAGES)
    ]
    keys = list(dict.fromkeys(str(row["key"]) for row in data))
    titles = {
        "key": translate("candidate"),
        "stage": translate("stage"),
        "ms": translate("ms"),
        "batch": translate("batch size, photos"),
    }
    bars = (
        chart_of(data)
        .mark_bar()
        .encode(
            x=alt.X("ms:Q", title=translate("milliseconds per photo"), stack=True),
            y=alt.Y("key:N", title=None, sort=keys, axis=alt.Axis(labelLimit=190)),
            color=series_colour("stage", [words[stage] for stage in _STAGES]),
            order="order:O",
            tooltip=tooltips(data, titles),
        )
    )
    return finish(bars, height=_BAR_PX * max(1, len(keys)), title=title)


def _log() -> alt.Scale:
    return alt.Scale(type="log", nice=False, padding=30)


def _point(row: SummaryRow) -> dict[str, Any]:
    assert row.top1 is not None
    assert row.single is not None
    low, high = row.single.p50_low_ms, row.single.p50_high_ms
    spread = {"p50_low": low, "p50_high": high} if low and high else {}
    return {
        "variant": row.variant,
        "runtime": row.runtime_name,
        "p50": float(row.single.p50_ms),
        "p99": row.p99_ms,
        "top1": 100 * row.top1.value,
        "low": 100 * row.top1.low,
        "high": 100 * row.top1.high,
        **spread,
        "gate": row.verdict_words,
    }


def _titles() -> dict[str, str]:
    """Return the titles of a point's fields."""
    return {
        "variant": translate("variant"),
        "runtime": translate("runtime"),
        "p50": translate("p50 ms"),
        "p50_low": translate("p50 ms, lower end"),
        "p50_high": translate("p50 ms, upper end"),
        "p99": translate("p99 ms"),
        "top1": translate("top-1 %"),
        "low": translate("top-1 %, lower end"),
        "high": translate("top-1 %, upper end"),
        "gate": translate("gate"),
    }


def _pareto(data: Sequence[dict[str, Any]], x: alt.X, y: alt.Y) -> alt.Chart:
    """Return the Pareto front: the points for which no other is both faster and at least as accurate."""
    front: list[dict[str, Any]] = []
    for point in sorted(data, key=lambda point: (point["p50"], -point["top1"])):
        if not front or point["top1"] > front[-1]["top1"]:
            front.append(point)
    line: alt.Chart = (
        chart_of(front).encode(x=x, y=y).mark_line(interpolate="step-after", strokeWidth=1.2, opacity=0.5, color=INK)
    )
    return line


def _limit_lines(limits: Mapping[str, float]) -> list[alt.Chart]:
    """Return a dashed line for each limit, with its name in a legend."""
    rows = [{"limit": name, "images_per_s": rate} for name, rate in limits.items()]
    base = chart_of(rows).encode(y=alt.Y("images_per_s:Q", title=translate("photos per second")))
    legend = alt.Legend(orient="top", title=None, symbolType="stroke", symbolSize=300, symbolStrokeColor=ALERT)
    dashes = alt.Scale(domain=list(limits), range=[[6, 4], [2, 3]][: len(limits)])
    return [
        base.mark_rule(strokeWidth=1.5, color=ALERT).encode(
            strokeDash=alt.StrokeDash("limit:N", scale=dashes, legend=legend)
        )
    ]


def _gate_line(level: float, margin_points: float) -> list[alt.Chart]:
    """Return the line of the gate's margin, with its name in a legend, because intervals would cross a name inside the chart."""
    label = translate("fp32 − {margin} points", margin=f"{margin_points:g}")
    base = chart_of([{"level": level, "label": label}]).encode(y="level:Q")
    legend = alt.Legend(orient="top", title=None, symbolType="stroke", symbolSize=300, symbolStrokeColor=ALERT)
    dashes = alt.StrokeDash("label:N", scale=alt.Scale(domain=[label], range=[[6, 4]]), legend=legend)
    return [base.mark_rule(strokeWidth=1.5, color=ALERT).encode(strokeDash=dashes)]
