"""The common style of all charts: colours, shapes, axes, legends and configuration.

The colours are readable on light and dark pages; text and lines are `currentColor`, which the page's style sheet sets. The width
of a chart is that of its container in the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import altair as alt

from vegrt.report.html.blocks import Spec
from vegrt.report.language.language import translate

HEIGHT_PX = 300
COLOURS = {
    "ONNX Runtime": "#3d8bd4",
    "OpenVINO": "#dc7a1f",
    "TensorRT": "#5f9e1a",
    "PyTorch": "#c2549d",
    "MNN": "#2fa39b",
}
HUES = ("#3d8bd4", "#dc7a1f", "#5f9e1a", "#c2549d", "#2fa39b", "#8f7be0", "#b3870f", "#d9482b")
BLUE, ORANGE = HUES[:2]
ALERT = "#d9482b"
INK = "currentColor"
_LEGEND_LETTERS = 36  # of three names that fit side by side
_SHAPES = {
    "fp32": "circle",
    "fp16": "square",
    "int8": "triangle-up",
    "int8-cpu": "diamond",
    "bf16": "cross",
    "int8-imported": "triangle-down",
}
_CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "title": {"color": INK, "fontSize": 13, "fontWeight": 600, "anchor": "start", "frame": "bounds"},
    "axis": {
        **{f"{part}Color": INK for part in ("label", "title", "domain", "tick", "grid")},
        **{"domainOpacity": 0.4, "tickOpacity": 0.4, "gridOpacity": 0.12},
        **{"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
    },
    "legend": {
        "labelColor": INK,
        "labelFontSize": 12,
        "symbolOpacity": 1,
        "layout": {"top": {"direction": "vertical"}},
    },
}
SERIES = alt.Legend(orient="top", title=None, columns=3)  # as many as fit on a phone
TWO_COLUMNS = alt.Legend(orient="top", title=None, columns=2)
MARKERS = alt.Legend(orient="top", title=None, columns=4, symbolFillColor=INK, symbolStrokeColor=INK)


def finish(*layers: alt.Chart, height: int = HEIGHT_PX, title: str = "") -> Spec:
    """Return the layers as one chart in the common style."""
    look = {"width": "container", "height": height, "autosize": {"type": "fit-x", "contains": "padding"}}
    named = {"title": title} if title else {}
    # Not validated: that takes altair longer than drawing takes vl-convert. A test validates every chart.
    return alt.layer(*layers).to_dict(validate=False) | look | named | {"config": _CONFIG}


def chart_of(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """Return a chart of these rows, without marks."""
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def integer_axis(maximum: int) -> alt.Axis:
    """Return an axis from 0 to `maximum` with at most seven ticks, all at whole numbers in every renderer."""
    step = next(
        size for power in range(12) for size in (10**power, 2 * 10**power, 5 * 10**power) if maximum <= 6 * size
    )
    return alt.Axis(values=list(range(0, maximum + 1, step)), format="d")


def epoch_axis() -> alt.X:
    """Return the axis of epochs."""
    return alt.X("epoch:O", title=translate("epoch"), axis=alt.Axis(labelAngle=0, labelOverlap=True))


def runtime_colour(present: set[str]) -> alt.Color:
    """Return the colours of the runtimes. present: their names, in the official spelling, maybe with a device behind it."""
    unused = [hue for hue in HUES if hue not in COLOURS.values()]
    others = dict(zip(sorted(present - set(COLOURS)), cycle(unused), strict=False))
    return alt.Color("runtime:N", scale=scale_of(COLOURS | others, present), legend=SERIES)


def variant_shape(present: set[str]) -> alt.Shape:
    """Return the markers of the variants in `present`."""
    return alt.Shape("variant:N", scale=scale_of(_SHAPES, present), legend=MARKERS)


def series_colour(field: str, names: Sequence[str]) -> alt.Color:
    """Return one colour for each name, in their order."""
    hues = [HUES[number % len(HUES)] for number in range(len(names))]
    scale = alt.Scale(domain=list(names), range=hues)
    return alt.Color(f"{field}:N", scale=scale, sort=list(names), legend=series_legend(names))


def series_legend(names: Sequence[str]) -> alt.Legend:
    """Return a legend with as many columns as fit into a narrow panel: three for short names, otherwise two."""
    return SERIES if len(names) <= 3 and sum(map(len, names)) <= _LEGEND_LETTERS else TWO_COLUMNS


def scale_of(look: Mapping[str, str], present: set[str]) -> alt.Scale:
    """Return a scale of the names in `present`; a name looks the same in every chart and report."""
    shown = {name: value for name, value in look.items() if name in present}
    shown |= {name: next(iter(look.values())) for name in sorted(present - set(look))}
    return alt.Scale(domain=list(shown), range=list(shown.values()))


def tooltips(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> list[alt.Tooltip]:
    """Return the tooltips of a mark. titles: by field; fields that are missing in the rows are omitted."""
    first = rows[0] if rows else {}
    return [
        alt.Tooltip(f"{name}:Q", title=title, format=".4g")
        if isinstance(first[name], float)
        else alt.Tooltip(f"{name}:N", title=title)
        for name, title in titles.items()
        if name in first
    ]
