"""The charts of a calibration: the tournament of the range methods, and the cost of each layer in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from vegrt.report.charts.theme import BLUE, ORANGE, SERIES, chart_of, finish, tooltips
from vegrt.report.html.blocks import Spec
from vegrt.report.language.language import translate
from vegrt.results.analysis import LayerCost
from vegrt.results.convert import to_dict

MAX_LAYERS_DRAWN = 30  # the most sensitive ones
_LAYER_PX = 22


def sensitivity_spec(rows: Sequence[LayerCost]) -> Spec:
    """Return each layer's KL divergence as bars, a row for each layer, a colour for each encoding."""
    worst: dict[str, float] = {}
    for row in rows:
        worst[row.layer] = max(row.kl, worst.get(row.layer, 0))
    shown = sorted(worst, key=lambda name: -worst[name])[:MAX_LAYERS_DRAWN]
    data = [to_dict(row) for row in rows if row.layer in shown]
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


def tournament_spec(entries: Sequence[dict[str, Any]]) -> Spec:
    """Return each method's divergence from fp32 as bars, a colour for each encoding. entries: `tournament` of a manifest."""
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


def _encodings() -> alt.Scale:
    return alt.Scale(domain=["signed", "unsigned"], range=[BLUE, ORANGE])
