"""Writing a report: the page, the Markdown and the pictures, all from the same facts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.files.atomic import write_text
from vegrt.infer.runtimes.objective import DEFAULT, Objective
from vegrt.report import markdown
from vegrt.report.facts.benches import check_used
from vegrt.report.facts.data import fits
from vegrt.report.facts.facts import Asked, Facts, load_facts
from vegrt.report.html.blocks import Chart, Section
from vegrt.report.html.page import assemble, made_by, require_charts
from vegrt.report.language.language import Language, translate, using_language
from vegrt.report.overview import overview_sections
from vegrt.report.sections import bundle_sections
from vegrt.report.summary import rows
from vegrt.report.verdict import Conclusion, conclude


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Which files to write; None: not that one. png, svg: folders, for every chart as a picture."""

    html: Path | None = None
    markdown: Path | None = None
    png: Path | None = None
    svg: Path | None = None

    @property
    def drawn(self) -> bool:
        """Return whether any of them shows charts."""
        return self.html is not None or self.png is not None or self.svg is not None


@dataclass(frozen=True, slots=True)
class Sources:
    """What a report is made from beside the bundles' own results.

    data: the folder that was evaluated, for the photos in the gallery; they are embedded, much reduced. benches: result
    files of `vegrt bench` from other machines. audits: contents of audit.json, each used where it is of a bundle's photos.
    objective: what fastest means. command: how the report was asked for.
    """

    data: Path | None = None
    benches: Sequence[Path] = ()
    audits: Sequence[Mapping[str, Any]] = ()
    objective: Objective = DEFAULT
    command: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Part:
    """What is said of one bundle, or of all together. folder: of its pictures, beside or below that of the others."""

    name: str
    folder: str
    conclusion: Conclusion | None
    sections: list[Section]
    charts: dict[str, Chart] = field(default_factory=dict)


def write_report(
    bundles: Sequence[Bundle], outputs: ReportFiles, *, sources: Sources | None = None, language: Language = "en"
) -> list[Path]:
    """Write what `outputs` names, each file whole or not at all, and return the files.

    Raises VegrtError when a bundle has no results or a source is of something else, MissingExtraError without the `report`
    extra.
    """
    if not bundles:
        raise VegrtError("report: no bundle named; expected: vegrt report BUNDLE... -o report.html")
    sources = sources or Sources()
    facts = facts_of(bundles, sources)
    if outputs.drawn:
        require_charts()
    with using_language(language):
        return _write(_parts(facts, sources.data, drawn=outputs.drawn), outputs)


def facts_of(bundles: Sequence[Bundle], sources: Sources) -> list[Facts]:
    """Return each bundle's facts. Raises VegrtError as write_report does."""
    check_used(bundles, sources.benches)
    return [
        load_facts(
            bundle,
            benches=sources.benches,
            audit=next((dict(audit) for audit in sources.audits if fits(audit, bundle.manifest.data)), None),
            asked=Asked(sources.objective, dict(sources.command)),
        )
        for bundle in bundles
    ]


def _parts(facts: Sequence[Facts], data: Path | None, *, drawn: bool) -> list[_Part]:
    """Return the parts in their order: with several bundles, first what compares them. drawn: with charts."""
    parts = []
    named = list(zip(_names(facts), facts, strict=True))
    if len(named) > 1:
        parts.append(_overview(named, drawn=drawn))
    for (name, one), folder in zip(named, _folders(facts), strict=True):
        compared = rows(one)
        conclusion = conclude(one, compared)
        charts = _charts(one, conclusion) if drawn else {}
        sections = bundle_sections(one, compared, conclusion, charts, data)
        parts.append(_Part(name, folder, conclusion, sections, charts))
    return parts


def _overview(named: Sequence[tuple[str, Facts]], *, drawn: bool) -> _Part:
    chart = None
    if drawn:
        from vegrt.report.figures import overview_chart

        chart = overview_chart(named)
    found = {chart.name: chart} if chart else {}
    return _Part(translate("All bundles"), "", None, overview_sections(named, chart), found)


def _charts(facts: Facts, conclusion: Conclusion) -> dict[str, Chart]:
    from vegrt.report.figures import bundle_charts

    return bundle_charts(facts, conclusion.chosen)


def _names(facts: Sequence[Facts]) -> list[str]:
    """Return a name for each bundle: its own, with its folder where two share one."""
    own = [one.bundle.manifest.name for one in facts]
    return [
        name if own.count(name) == 1 else f"{name} ({one.bundle.path})" for name, one in zip(own, facts, strict=True)
    ]


def _folders(facts: Sequence[Facts]) -> list[str]:
    """Return each bundle's folder of pictures: the one that was asked for, and of several bundles one below it for each."""
    if len(facts) == 1:
        return [""]
    names = [_file_name(one.bundle.manifest.name) for one in facts]
    return [name if names.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(names, start=1)]


def _file_name(name: str) -> str:
    """Return a name that any file system takes."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip(".-") or "bundle"


def _write(parts: Sequence[_Part], outputs: ReportFiles) -> list[Path]:
    title = translate("Deployment report: {names}", names=", ".join(part.name for part in parts if part.conclusion))
    written = []
    if outputs.html is not None:
        write_text(outputs.html, _page(title, parts))
        written.append(outputs.html)
    if outputs.markdown is not None:
        write_text(outputs.markdown, _markdown(title, parts, outputs))
        written.append(outputs.markdown)
    return written + _pictures(parts, outputs)


def _page(title: str, parts: Sequence[_Part]) -> str:
    from vegrt.report.html.to_html import article

    articles = [
        article(part.name, part.conclusion, part.sections, place=f"part{number}")
        for number, part in enumerate(parts, start=1)
    ]
    return assemble(title, articles, source=translate("result files"))


def _markdown(title: str, parts: Sequence[_Part], outputs: ReportFiles) -> str:
    assert outputs.markdown is not None
    kind, root = ("png", outputs.png) if outputs.png is not None else ("svg", outputs.svg)
    texts = [f"# {markdown.escape(title)}"]
    for part in parts:
        head = markdown.verdict(part.name, part.conclusion) if part.conclusion else f"## {markdown.escape(part.name)}"

        def link(chart: Chart, folder: str = part.folder) -> str | None:
            return _link(outputs.markdown, root / folder / f"{chart.name}.{kind}") if root is not None else None

        texts += [head, markdown.body(part.sections, link)]
    return "\n\n".join([*texts, markdown.escape(made_by(translate("result files")))]) + "\n"


def _link(document: Path | None, picture: Path) -> str:
    assert document is not None
    return quote(Path(os.path.relpath(picture, document.parent)).as_posix())


def _pictures(parts: Sequence[_Part], outputs: ReportFiles) -> list[Path]:
    if outputs.png is None and outputs.svg is None:
        return []
    from vegrt.report.charts.pictures import write_pictures

    written = []
    for part in parts:
        if outputs.png is not None:
            written += write_pictures(part.charts.values(), outputs.png / part.folder, "png", subject=part.name)
        if outputs.svg is not None:
            written += write_pictures(part.charts.values(), outputs.svg / part.folder, "svg", subject=part.name)
    return written
