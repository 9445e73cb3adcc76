"""Charts in a page: static pictures, which can be printed and need no script, and the specifications for interactive ones."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache

import vl_convert
from markupsafe import Markup

from vegrt.report.html.blocks import Chart, Spec
from vegrt.report.html.render import to_svg
from vegrt.report.html.templates import read_asset

_STATIC_WIDTH_PX, _STATIC_PANEL_PX = 640, 420  # of a panel that is alone in its row, and of one beside others
_EXPOSE = "window.vegaEmbed = vegaEmbed;"


@dataclass(frozen=True, slots=True)
class Plot:
    """A panel as a picture. label: its description for screen readers."""

    svg: Markup
    label: str


@dataclass(frozen=True, slots=True)
class EmbeddedChart:
    """A chart ready for the page. specs: the panels' specifications, as JSON that is safe in a script element."""

    plots: tuple[Plot, ...]
    specs: Markup
    caption: str
    panel_px: int


def embed_chart(chart: Chart) -> EmbeddedChart:
    """Return the chart with its panels drawn."""
    alone = len(chart.panels) == 1 or chart.panel_px > _STATIC_WIDTH_PX
    width_px = _STATIC_WIDTH_PX if alone else _STATIC_PANEL_PX
    specs = [spec | {"description": _label(chart, spec)} for spec in chart.panels]
    plots = tuple(Plot(Markup(to_svg(spec | {"width": width_px})), spec["description"]) for spec in specs)
    return EmbeddedChart(plots, _script_json(specs), chart.caption, chart.panel_px)


def page_scripts() -> tuple[Markup, Markup]:
    """Return the page's two scripts: Vega with its dependencies, and the one that starts the charts."""
    return _vega(), read_asset("charts.js")


def content_policy() -> str:
    """Return the Content-Security-Policy: no network, and no script except those of `page_scripts`."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page_scripts()]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"


def _label(chart: Chart, spec: Spec) -> str:
    title = spec.get("title")
    return f"{chart.label}: {title}" if title else chart.label


@cache
def _vega() -> Markup:
    return Markup(vl_convert.javascript_bundle(_EXPOSE).replace("</script", "<\\/script"))


def _script_json(specs: list[Spec]) -> Markup:
    """Return JSON that is safe in a script element: it cannot close the element."""
    return Markup(json.dumps(specs, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))
