"""The chart of what is accepted: risk against coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt

from vegrt.report.charts.theme import chart_of, finish, series_colour, tooltips
from vegrt.report.html.blocks import Spec
from vegrt.report.language.language import translate
from vegrt.results.trust import RiskPoint


def risk_coverage_spec(curves: Mapping[str, Sequence[RiskPoint]]) -> Spec:
    """Return the share of errors among the most confident photos against their share, a line for each candidate."""
    data = [
        {"candidate": key, "coverage": 100 * point.coverage, "risk": 100 * point.risk}
        for key, points in curves.items()
        for point in points
    ]
    x_title, y_title = (
        translate("accepted photos, the most probable answers first, %"),
        translate("errors among them, %"),
    )
    highest = max((row["risk"] for row in data if isinstance(row["risk"], float)), default=0.0)
    scale = alt.Scale(domain=[0, max(1.0, highest)], nice=True)
    lines = (
        chart_of(data)
        .mark_line(strokeWidth=1.6)
        .encode(
            x=alt.X(
                "coverage:Q", title=x_title, scale=alt.Scale(domain=[0, 100], nice=False), axis=alt.Axis(tickCount=10)
            ),
            y=alt.Y("risk:Q", title=y_title, scale=scale),
            color=series_colour("candidate", list(curves)),
            tooltip=tooltips(data, {"candidate": translate("candidate"), "coverage": x_title, "risk": y_title}),
        )
    )
    return finish(lines)
