"""A chart in the page: a static picture that prints and needs no script, made interactive by its specification."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

import vl_convert

from vegrt.report.html.blocks import Chart, Spec
from vegrt.report.html.markup import Html, element
from vegrt.report.html.render import to_svg

_STATIC_WIDTH_PX, _STATIC_PANEL_PX = 640, 420  # of a panel that stands alone, and of one among others
_EXPOSE = "window.vegaEmbed = vegaEmbed;"
# ast: expressions are interpreted, not compiled, so that the page needs no 'unsafe-eval' in its policy.
_START = """
for (const figure of document.querySelectorAll("figure.chart")) {
  const specs = JSON.parse(figure.querySelector("script").textContent);
  const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  figure.querySelectorAll(".plot").forEach((plot, index) => vegaEmbed(plot, specs[index],
    {renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: {theme}}));
}
"""


def chart_figure(chart: Chart) -> Html:
    """Return the chart as a figure: its panels side by side where there is room, described for those who do not see them."""
    alone = len(chart.panels) == 1
    specs = [spec | {"description": _label(chart, spec)} for spec in chart.panels]
    plots = [_plot(spec, _STATIC_WIDTH_PX if alone else _STATIC_PANEL_PX) for spec in specs]
    width = f"--panel: {chart.panel_px}px"
    placed = plots[0] if alone else element("div", *plots, class_="panels", style=width)
    data = element("script", _json(specs), type="application/json")
    return element("figure", placed, data, element("figcaption", chart.caption), class_="chart")


def _plot(spec: Spec, width_px: int) -> Html:
    static = to_svg(spec | {"width": width_px})
    return element("div", Html(static), class_="plot", role="img", aria_label=spec["description"])


def _label(chart: Chart, spec: Spec) -> str:
    title = spec.get("title")
    return f"{chart.label}: {title}" if title else chart.label


def scripts() -> tuple[str, str]:
    """Return the text of the page's scripts: Vega with all that it needs, once for all charts, and the start."""
    return _vega(), _START


def policy() -> str:
    """Return the Content-Security-Policy: no network at all, no script but ours."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts()]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"


@cache
def _vega() -> str:
    return vl_convert.javascript_bundle(_EXPOSE).replace("</script", "<\\/script")


def _json(value: Any) -> Html:
    """Return JSON that cannot end the script element that it stands in."""
    return Html(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))
