"""The charts of the making: training by epoch, the calibration's tournament, and what each layer costs in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from vegrt.report.charts.theme import BLUE, INK, MARKERS, ORANGE, SERIES, chart_of, epoch_axis, finish, tooltips
from vegrt.report.html.blocks import Spec
from vegrt.report.language.language import mark, translate
from vegrt.train.history.records import PHASES

MAX_LAYERS_DRAWN = 30  # of a sensitivity, the most sensitive
PHASE_WORDS = {"head": mark("head alone"), "all": mark("all layers")}
_LAYER_PX = 22
_WIDE = 20  # largest loss by the smallest


def sensitivity(rows: Sequence[dict[str, Any]]) -> Spec:
    """Return the layers' KL divergence as bars, a row for each layer, a colour for each encoding. rows: of a result file."""
    worst: dict[str, float] = {}
    for row in rows:
        worst[row["layer"]] = max(row["kl"], worst.get(row["layer"], 0))
    shown = sorted(worst, key=lambda name: -worst[name])[:MAX_LAYERS_DRAWN]
    data = [row for row in rows if row["layer"] in shown]
    titles = {
        "layer": translate("layer"),
        "encoding": translate("activations"),
        "flips": translate("flips"),
        "kl": translate("KL, nats"),
    }
    titles |= {"sqnr_db": translate("signal to noise, dB")}
    bars = (
        chart_of(data)
        .mark_bar()
        .encode(
            x=alt.X("kl:Q", title=translate("KL divergence of the answers, nats")),
            y=alt.Y("layer:N", title=None, sort=shown, axis=alt.Axis(labelLimit=220)),
            yOffset=alt.YOffset("encoding:N"),
            color=alt.Color("encoding:N", scale=_encodings(), legend=SERIES),
            tooltip=tooltips(data, titles),
        )
    )
    return finish(bars, height=_LAYER_PX * len(shown))


def tournament(entries: Sequence[dict[str, Any]]) -> Spec:
    """Return each method's divergence from fp32 as bars, a colour for each encoding. entries: of a manifest."""
    methods = list(dict.fromkeys(entry["method"] for entry in entries))
    names = ("method", "encoding", "kl", "agreement")
    data = [{name: entry[name] for name in names} for entry in entries]
    titles = {"method": translate("method"), "encoding": translate("activations"), "kl": translate("KL, nats")}
    titles |= {"agreement": translate("agreement with fp32")}
    bars = (
        chart_of(data)
        .mark_bar()
        .encode(
            x=alt.X("kl:Q", title=translate("KL divergence of the answers, nats")),
            y=alt.Y("method:N", title=None, sort=methods),
            yOffset=alt.YOffset("encoding:N"),
            color=alt.Color("encoding:N", scale=_encodings(), legend=SERIES),
            tooltip=tooltips(data, titles),
        )
    )
    return finish(bars, height=2 * _LAYER_PX * len(methods))


def training_curve(epochs: Sequence[dict[str, Any]], measure: str, best_epoch: int | None) -> Spec:
    """Return one measure (`loss`, `accuracy`) of training and validation by epoch, the best epoch marked.

    The phases have marks of their own and no line between them: training's photos are not the same in both.
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


def _encodings() -> alt.Scale:
    return alt.Scale(domain=["signed", "unsigned"], range=[BLUE, ORANGE])


def _measure_axis(measure: str, values: Sequence[float]) -> alt.Y:
    """Return an axis that is logarithmic where one wild loss would flatten all the others."""
    if measure == "accuracy":
        return alt.Y("value:Q", title=translate("accuracy, %"), scale=alt.Scale(zero=False))
    if min(values) > 0 and max(values) > _WIDE * min(values):
        scale = alt.Scale(type="log", nice=False, padding=8)
        return alt.Y("value:Q", title=translate("cross-entropy (log)"), scale=scale)
    return alt.Y("value:Q", title=translate("cross-entropy"), scale=alt.Scale(zero=False))
