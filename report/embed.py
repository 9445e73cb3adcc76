"""A chart in the page: a static picture that prints and needs no script, made interactive by its specification."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

import vl_convert

from vegrt.report.charts import Spec
from vegrt.report.markup import Html, element

_STATIC_WIDTH_PX = 640
_EXPOSE = "window.vegaEmbed = vegaEmbed;"
# ast: expressions are interpreted, not compiled, so that the page needs no 'unsafe-eval' in its policy.
_START = """
for (const figure of document.querySelectorAll("figure.chart")) {
  const plot = figure.querySelector(".plot");
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  vegaEmbed(plot, spec, {renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: {theme}});
}
"""


def chart_figure(spec: Spec, label: str, caption: str) -> Html:
    """Return the chart as a figure. label: what it shows, for those who do not see it."""
    spec = spec | {"description": label}
    static = vl_convert.vegalite_to_svg(spec | {"width": _STATIC_WIDTH_PX}, allowed_base_urls=[])
    plot = element("div", Html(static), class_="plot", role="img", aria_label=label)
    data = element("script", _json(spec), type="application/json")
    return element("figure", plot, data, element("figcaption", caption), class_="chart")


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
