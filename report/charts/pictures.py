"""Charts as picture files, PNG and SVG: on white, in a readable size, under stable names."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from vegrt.files.atomic import replacing
from vegrt.report.html.blocks import Chart, Spec
from vegrt.report.html.render import to_png, to_svg
from vegrt.report.language.language import present_language

log = logging.getLogger(__name__)

PictureFormat = Literal["png", "svg"]

_ALONE_PX, _PANEL_PX, _SMALL_PX = 720, 460, 300
_SMALL_FROM = 4  # panels; from this number on they have 3 columns, fewer have 2
_SCALE = 2
_FONTS = {  # the first installed one is used
    "en": "system-ui, sans-serif",
    "ko": "Noto Sans KR, Noto Sans CJK KR, Apple SD Gothic Neo, Malgun Gothic, NanumGothic, sans-serif",
}
_LETTERS = {"ko": "가힣"}  # two that differ
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"


def write_pictures(charts: Iterable[Chart], folder: Path, picture_format: PictureFormat, *, subject: str) -> list[Path]:
    """Write each chart as `<folder>/<its name>.<format>`, titled with `subject`, and return the files."""
    written = []
    for chart in charts:
        spec = _picture_spec(chart, subject)
        path = folder / f"{chart.name}.{picture_format}"
        content = to_png(spec, scale=_SCALE) if picture_format == "png" else to_svg(spec).encode()
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        written.append(path)
    return written


def warn_without_font() -> None:
    """Log a warning if no installed font has the letters of the report's language: a PNG then shows boxes."""
    language = present_language()
    letters = _LETTERS.get(language)
    if letters and len({_letter(letter, _FONTS[language]) for letter in letters}) == 1:
        log.warning(
            "report: no installed font has the letters of this language, and the PNG pictures show boxes instead; install one "
            "of %s (on Debian: apt-get install fonts-nanum), or write SVG",
            _FONTS[language].removesuffix(", sans-serif"),
        )


def _letter(letter: str, font: str) -> bytes:
    """Return the picture of a letter; all letters that no font has look the same."""
    look = {"type": "text", "text": letter, "font": font, "fontSize": 20}
    return to_png({"$schema": _SCHEMA, "data": {"values": [{}]}, "mark": look}, scale=1)


def _picture_spec(chart: Chart, subject: str) -> Spec:
    """Return a chart's panels as one specification of fixed width on white."""
    title = {"text": f"{subject}: {chart.label}", "fontSize": 15, "anchor": "start", "offset": 12}
    look = {"background": "white", "font": _FONTS[present_language()]}
    config = chart.panels[0]["config"] | look
    common: dict[str, Any] = {"$schema": chart.panels[0]["$schema"], "config": config, "padding": 16}
    if len(chart.panels) == 1:
        panel = _fixed(chart.panels[0], _ALONE_PX) | {"datasets": chart.panels[0].get("datasets", {})}
        if "title" in panel:
            title["subtitle"] = panel.pop("title")
        return panel | common | {"title": title}
    small = len(chart.panels) >= _SMALL_FROM
    panels = [_fixed(panel, _SMALL_PX if small else _PANEL_PX) for panel in chart.panels]
    apart = dict.fromkeys(("color", "shape", "opacity", "size"), "independent")
    data = {name: rows for panel in chart.panels for name, rows in panel.get("datasets", {}).items()}
    whole: dict[str, Any] = {"datasets": data} if data else {}
    whole |= {"concat": panels, "columns": 3 if small else 2, "spacing": 28, "resolve": {"scale": apart}}
    return common | whole | {"title": title}


def _fixed(panel: Spec, width_px: int) -> Spec:
    fixed = {name: value for name, value in panel.items() if name not in ("config", "autosize", "$schema", "datasets")}
    return fixed | {"width": width_px}
