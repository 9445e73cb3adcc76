"""The charts, as Vega-Lite specifications made with altair.

Their colours are readable on a light and on a dark page; what is black or white there is `currentColor`, which the
page's own style decides. Their width is that of their place in the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from vegrt.report.facts import Facts
from vegrt.report.summary import RUNTIMES, Row
from vegrt.train.records import PHASES

Spec = dict[str, Any]

HEIGHT_PX = 300
MAX_CLASSES_DRAWN = 40  # in a confusion matrix
MAX_LAYERS_DRAWN = 30  # of a sensitivity, the most sensitive
_LAYER_PX = 22
_COLOURS = {"ONNX Runtime": "#3d8bd4", "OpenVINO": "#dc7a1f", "TensorRT": "#5f9e1a", "PyTorch": "#c2549d"}
_SHAPES = {"fp32": "circle", "fp16": "square", "int8": "triangle-up", "int8-cpu": "diamond"}
_TOP1 = "top-1 accuracy, %"
_WIDE = 20  # largest loss by the smallest
_ALERT = "#d9482b"
_INK = "currentColor"
_CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **{f"{part}Color": _INK for part in ("label", "title", "domain", "tick", "grid")},
        **{"domainOpacity": 0.4, "tickOpacity": 0.4, "gridOpacity": 0.12},
        **{"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
    },
    "legend": {
        "labelColor": _INK,
        "labelFontSize": 12,
        "symbolOpacity": 1,
        "layout": {"top": {"direction": "vertical"}},
    },
}
SERIES = alt.Legend(orient="top", title=None, columns=3)  # as many as a phone has room for
EPOCH = alt.X("epoch:O", title="epoch", axis=alt.Axis(labelAngle=0, labelOverlap=True))
_MARKERS = alt.Legend(orient="top", title=None, columns=4, symbolFillColor=_INK, symbolStrokeColor=_INK)


def accuracy_latency(rows: Sequence[Row], margin_points: float) -> Spec:
    """Return top-1 against the time of one photo. rows: those both evaluated and measured, at least one."""
    data = [_point(row) for row in rows]
    x = alt.X("p50:Q", title="median time of one photo, ms (log)", scale=alt.Scale(type="log", nice=False, padding=30))
    y = alt.Y("top1:Q", title=_TOP1, scale=alt.Scale(zero=False, nice=True))
    base = alt.Chart(alt.InlineData(values=data)).encode(x=x)
    spread = base.mark_rule(strokeWidth=2, opacity=0.55).encode(
        y=alt.Y("low:Q", title=_TOP1), y2="high:Q", color=_runtime(data)
    )
    marks = base.mark_point(filled=True, size=130, opacity=1).encode(
        y=y, color=_runtime(data), shape=_variant(data), tooltip=_tooltips(data[0])
    )
    layers = [_pareto(data, x, y), spread, marks]
    reference = next((row.top1 for row in rows if row.verdict == "REFERENCE"), None)
    if reference:
        layers[:0] = _gate_line(100 * reference.value - margin_points, margin_points)
    return finish(*layers)


def throughput(measured: Sequence[dict[str, Any]]) -> Spec:
    """Return images per second against the batch size. measured: a benchmark's rows."""
    data = [
        {"key": row["key"], "variant": row["variant"], "runtime": RUNTIMES.get(row["runtime"], row["runtime"])}
        | {name: point[name] for name in ("batch", "images_per_s", "p50_ms", "p99_ms")}
        for row in measured
        for point in row["batches"]
    ]
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=alt.X("batch:O", title="batch size, photos", axis=alt.Axis(labelAngle=0), scale=alt.Scale(padding=0.3)),
        y=alt.Y("images_per_s:Q", title="photos per second"),
        color=_runtime(data),
        detail="key:N",
    )
    marks = base.mark_point(filled=True, size=110, opacity=1).encode(shape=_variant(data), tooltip=_tooltips(data[0]))
    return finish(base.mark_line(strokeWidth=1.5, opacity=0.7), marks)


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], *, maximum: int) -> Spec:
    """Return a heat map in which only mistakes are coloured. maximum: the count at full strength, shared by a pair."""
    data = [
        {"true": classes[true], "said": classes[said], "photos": count, "mistake": true != said}
        for true, row in enumerate(counts)
        for said, count in enumerate(row)
        if count
    ]
    order = list(classes)
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=alt.X(
            "said:N", sort=order, title="what it said", scale=alt.Scale(domain=order), axis=alt.Axis(labelAngle=-60)
        ),
        y=alt.Y("true:N", sort=order, title="what it is", scale=alt.Scale(domain=order)),
        tooltip=["true:N", "said:N", "photos:Q"],
    )
    is_mistake = alt.datum.mistake
    strength = alt.Opacity("photos:Q", scale=alt.Scale(domain=[0, max(4, maximum)], range=[0.2, 0.95]), legend=None)
    mistakes = base.transform_filter(is_mistake).mark_rect(color=_ALERT).encode(opacity=strength)
    right = base.transform_filter(~is_mistake).mark_rect(color="#888", opacity=0.12)
    numbers = base.mark_text(fontSize=10, color=_INK).encode(
        text="photos:Q",
        opacity=alt.when(is_mistake).then(alt.value(1)).otherwise(alt.value(0.6)),
    )
    return finish(right, mistakes, numbers, height=110 + 19 * len(classes))


def sensitivity(rows: Sequence[dict[str, Any]]) -> Spec:
    """Return the layers' KL divergence as bars, a row for each layer, a colour for each encoding. rows: of a result file."""
    worst: dict[str, float] = {}
    for row in rows:
        worst[row["layer"]] = max(row["kl"], worst.get(row["layer"], 0))
    shown = sorted(worst, key=lambda name: -worst[name])[:MAX_LAYERS_DRAWN]
    data = [row for row in rows if row["layer"] in shown]
    colours = alt.Scale(domain=["signed", "unsigned"], range=[_COLOURS["ONNX Runtime"], _COLOURS["OpenVINO"]])
    bars = (
        alt.Chart(alt.InlineData(values=data))
        .mark_bar()
        .encode(
            x=alt.X("kl:Q", title="KL divergence of the answers, nats"),
            y=alt.Y("layer:N", title=None, sort=shown, axis=alt.Axis(labelLimit=220)),
            yOffset=alt.YOffset("encoding:N"),
            color=alt.Color("encoding:N", scale=colours, legend=SERIES),
            tooltip=[
                *(alt.Tooltip(f"{name}:N") for name in ("layer", "encoding", "flips")),
                *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("kl", "sqnr_db")),
            ],
        )
    )
    return finish(bars, height=_LAYER_PX * len(shown))


def training_curve(epochs: Sequence[dict[str, Any]], measure: str, best_epoch: int | None) -> Spec:
    """Return one measure (`loss`, `accuracy`) of training and validation by epoch, the best epoch marked.

    The phases have marks of their own and no line between them: training's photos are not the same in both.
    """
    scale = 100 if measure == "accuracy" else 1
    data = [
        {"epoch": epoch["epoch"], "split": split, "value": scale * epoch[f"{split}_{measure}"]}
        | {"phase": PHASES[epoch["phase"]]}
        for epoch in epochs
        for split in ("train", "validation")
    ]
    colours = alt.Scale(domain=["train", "validation"], range=list(_COLOURS.values())[:2])
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=EPOCH,
        y=_measure_axis(measure, [point["value"] for point in data]),
        color=alt.Color("split:N", scale=colours, legend=SERIES),
        tooltip=["epoch:O", "phase:N", "split:N", alt.Tooltip("value:Q", format=".4g")],
    )
    phases = [name for phase, name in PHASES.items() if any(epoch["phase"] == phase for epoch in epochs)]
    marks = alt.Scale(domain=phases, range=["diamond" if name == PHASES["head"] else "circle" for name in phases])
    shape = alt.Shape("phase:N", scale=marks, legend=_MARKERS if len(phases) > 1 else None)
    points = base.mark_point(filled=True, size=44, opacity=1).encode(shape=shape)
    best = alt.Chart(alt.InlineData(values=[{"epoch": best_epoch}] if best_epoch else []))
    rule = best.mark_rule(strokeDash=[3, 3], color=_INK, opacity=0.6).encode(x=EPOCH)
    return finish(rule, base.mark_line().encode(detail="phase:N"), points, height=220)


def paired_rows(facts: Facts, rows: Sequence[Row]) -> list[Row]:
    """Return the rows that have a place in `accuracy_latency`."""
    return [row for row in rows if row.top1 is not None and row.p50_ms] if facts.evaluation else []


def finish(*layers: alt.Chart, height: int = HEIGHT_PX) -> Spec:
    """Return the layers as one chart with the look that all share."""
    look = {"width": "container", "height": height, "autosize": {"type": "fit-x", "contains": "padding"}}
    return alt.layer(*layers).to_dict() | look | {"config": _CONFIG}


def _point(row: Row) -> dict[str, Any]:
    assert row.top1 is not None
    return {
        "variant": row.variant,
        "runtime": row.runtime_name,
        "p50": row.p50_ms,
        "p99": row.p99_ms,
        "top1": 100 * row.top1.value,
        "low": 100 * row.top1.low,
        "high": 100 * row.top1.high,
        "gate": row.verdict,
    }


def _pareto(data: Sequence[dict[str, Any]], x: alt.X, y: alt.Y) -> alt.Chart:
    """Return the line through the points to which no other is both faster and at least as accurate."""
    front: list[dict[str, Any]] = []
    for point in sorted(data, key=lambda point: (point["p50"], -point["top1"])):
        if not front or point["top1"] > front[-1]["top1"]:
            front.append(point)
    base = alt.Chart(alt.InlineData(values=front)).encode(x=x, y=y)
    line: alt.Chart = base.mark_line(interpolate="step-after", strokeWidth=1.2, opacity=0.5, color=_INK)
    return line


def _gate_line(level: float, margin_points: float) -> list[alt.Chart]:
    label = f"fp32 − {margin_points:g} points"
    base = alt.Chart(alt.InlineData(values=[{"level": level, "label": label}])).encode(y="level:Q")
    rule = base.mark_rule(strokeDash=[6, 4], strokeWidth=1.5, color=_ALERT)
    text = base.mark_text(align="left", baseline="top", dx=4, dy=4, color=_INK).encode(x=alt.value(0), text="label:N")
    return [rule, text]


def _measure_axis(measure: str, values: Sequence[float]) -> alt.Y:
    """Return an axis that is logarithmic where one wild loss would flatten all the others."""
    title = {"accuracy": "accuracy, %", "loss": "cross-entropy"}[measure]
    if measure == "loss" and min(values) > 0 and max(values) > _WIDE * min(values):
        return alt.Y("value:Q", title=f"{title} (log)", scale=alt.Scale(type="log", nice=False, padding=8))
    return alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))


def _runtime(data: Sequence[dict[str, Any]]) -> alt.Color:
    return alt.Color("runtime:N", scale=_scale(_COLOURS, {row["runtime"] for row in data}), legend=SERIES)


def _variant(data: Sequence[dict[str, Any]]) -> alt.Shape:
    return alt.Shape("variant:N", scale=_scale(_SHAPES, {row["variant"] for row in data}), legend=_MARKERS)


def _scale(look: dict[str, str], present: set[str]) -> alt.Scale:
    """Return the scale of what is present; the same thing looks the same in every chart and every report."""
    shown = {name: value for name, value in look.items() if name in present}
    shown |= {name: next(iter(look.values())) for name in sorted(present - set(look))}
    return alt.Scale(domain=list(shown), range=list(shown.values()))


def _tooltips(row: dict[str, Any]) -> list[alt.Tooltip]:
    return [
        alt.Tooltip(f"{name}:Q", format=".4g") if isinstance(value, float) else alt.Tooltip(f"{name}:N")
        for name, value in row.items()
        if name != "key"
    ]
