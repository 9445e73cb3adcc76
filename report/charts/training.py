"""The charts of a training: loss and accuracy by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from vegrt.report.charts.theme import BLUE, INK, MARKERS, ORANGE, SERIES, chart_of, epoch_axis, finish, tooltips
from vegrt.report.html.blocks import Spec
from vegrt.report.language.language import mark, translate
from vegrt.train.history.records import PHASES

PHASE_WORDS = {"head": mark("head alone"), "all": mark("all layers")}
_WIDE = 20  # ratio of the largest to the smallest loss from which the axis is logarithmic


def training_curve_spec(epochs: Sequence[dict[str, Any]], measure: str, best_epoch: int | None) -> Spec:
    """Return one measure (`loss`, `accuracy`) of training and validation by epoch, with the best epoch marked.

    Each phase has its own marker, and no line connects them: they train on different photos.
    """
    scale = 100 if measure == "accuracy" else 1
    splits = {"train": translate("train"), "validation": translate("validation")}
    words = {phase: translate(PHASE_WORDS[phase]) for phase in PHASES}
    data = [
        {"epoch": epoch["epoch"], "split": name, "value": scale * epoch[f"{split}_{measure}"]}
        | {"phase": words[epoch["phase"]]}
        for epoch in epochs
        for split, name in splits.items()
    ]
    titles = {
        "epoch": translate("epoch"),
        "phase": translate("phase"),
        "split": translate("split"),
        "value": translate("value"),
    }
    colours = alt.Scale(domain=list(splits.values()), range=[BLUE, ORANGE])
    base = chart_of(data).encode(
        x=epoch_axis(),
        y=_measure_axis(measure, [point["value"] for point in data]),
        color=alt.Color("split:N", scale=colours, legend=SERIES),
        tooltip=tooltips(data, titles),
    )
    phases = [phase for phase in PHASES if any(epoch["phase"] == phase for epoch in epochs)]
    marks = ["diamond" if phase == "head" else "circle" for phase in phases]
    domain = alt.Scale(domain=[words[phase] for phase in phases], range=marks)
    shape = alt.Shape("phase:N", scale=domain, legend=MARKERS if len(phases) > 1 else None)
    points = base.mark_point(filled=True, size=44, opacity=1).encode(shape=shape)
    best = chart_of([{"epoch": best_epoch}] if best_epoch else [])
    rule = best.mark_rule(strokeDash=[3, 3], color=INK, opacity=0.6).encode(x=epoch_axis())
    return finish(rule, base.mark_line().encode(detail="phase:N"), points, height=220)


def _measure_axis(measure: str, values: Sequence[float]) -> alt.Y:
    """Return the axis of a measure; logarithmic if an extreme loss would flatten the others."""
    if measure == "accuracy":
        return alt.Y("value:Q", title=translate("accuracy, %"), scale=alt.Scale(zero=False))
    if min(values) > 0 and max(values) > _WIDE * min(values):
        scale = alt.Scale(type="log", nice=False, padding=8)
        return alt.Y("value:Q", title=translate("cross-entropy (log)"), scale=scale)
    return alt.Y("value:Q", title=translate("cross-entropy"), scale=alt.Scale(zero=False))
