"""Writes a report: page, Markdown and pictures, all from the same facts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.files.atomic import write_text
from vegrt.infer.runtimes.objective import DEFAULT, Objective
from vegrt.report.comparisons import overview_sections
from vegrt.report.facts.benches import BenchFile, check_benches_match
from vegrt.report.facts.data import is_audit_of
from vegrt.report.facts.facts import Facts, ReportRequest, load_facts
from vegrt.report.html.blocks import Chart, Section, verdict_words
from vegrt.report.html.page import Article, VerdictPanel, origin_sentence, page_html, require_charts
from vegrt.report.language.language import Language, translate, using_language
from vegrt.report.markdown import escape_markdown, sections_markdown, verdict_markdown
from vegrt.report.row_files import linked_sections, write_row_files
from vegrt.report.sections import bundle_sections
from vegrt.report.summary import summary_rows
from vegrt.report.verdict import Conclusion, conclude
from vegrt.train.data.audit_file import ReportedAudit


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files to write; None: do not write. png, svg: folders for the charts as pictures."""

    html: Path | None = None
    markdown: Path | None = None
    png: Path | None = None
    svg: Path | None = None

    @property
    def has_charts(self) -> bool:
        """Return whether any output has charts."""
        return self.html is not None or self.png is not None or self.svg is not None


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of a report in addition to the bundles' own results.

    data: the evaluated folder, for thumbnails in the gallery. benches: results of `vegrt bench` on other machines.
    audits: each is used for the bundles that were made with its photos. objective: the measure of speed.
    command: name and options of the report's own command line.
    """

    data: Path | None = None
    benches: Sequence[BenchFile] = ()
    audits: Sequence[ReportedAudit] = ()
    objective: Objective = DEFAULT
    command: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Part:
    """One bundle's part of a report, or the comparison of all. folder: subfolder for its pictures."""

    name: str
    folder: str
    conclusion: Conclusion | None
    sections: list[Section]
    charts: dict[str, Chart] = field(default_factory=dict)


def write_report(
    bundles: Sequence[Bundle], outputs: ReportFiles, *, sources: Sources | None = None, language: Language = "en"
) -> list[Path]:
    """Write the files in `outputs`, each atomically, and return their paths.

    Raises VegrtError if a bundle has no results or a source does not match any bundle, MissingExtraError without the `report`
    extra.
    """
    if not bundles:
        raise VegrtError("report: no bundle given; expected: vegrt report BUNDLE... -o report.html")
    sources = sources or Sources()
    facts = load_all_facts(bundles, sources, with_predictions=True)
    if outputs.has_charts:
        require_charts()
    with using_language(language):
        return _write(_parts(facts, sources.data, with_charts=outputs.has_charts), outputs)


def load_all_facts(bundles: Sequence[Bundle], sources: Sources, *, with_predictions: bool = False) -> list[Facts]:
    """Return each bundle's facts. with_predictions: as for load_facts. Raises VegrtError as write_report does."""
    check_benches_match(bundles, sources.benches)
    request = ReportRequest(sources.objective, dict(sources.command))
    return [
        load_facts(
            bundle,
            benches=sources.benches,
            audit=next((audit for audit in sources.audits if is_audit_of(audit, bundle.manifest.data)), None),
            request=request,
            with_predictions=with_predictions,
        )
        for bundle in bundles
    ]


def _parts(all_facts: Sequence[Facts], data: Path | None, *, with_charts: bool) -> list[_Part]:
    """Return the parts in order; several bundles have their comparison first."""
    named = list(zip(_names(all_facts), all_facts, strict=True))
    parts = [_overview(named, with_charts=with_charts)] if len(named) > 1 else []
    for (name, facts), folder in zip(named, _folders(all_facts), strict=True):
        rows = summary_rows(facts)
        conclusion = conclude(facts, rows)
        charts = _charts(facts, conclusion) if with_charts else {}
        sections = bundle_sections(facts, rows, conclusion, charts, data)
        parts.append(_Part(name, folder, conclusion, sections, charts))
    return parts


def _overview(named: Sequence[tuple[str, Facts]], *, with_charts: bool) -> _Part:
    chart = None
    if with_charts:
        from vegrt.report.figures import overview_chart

        chart = overview_chart(named)
    charts = {chart.name: chart} if chart else {}
    return _Part(translate("All bundles"), "", None, overview_sections(named, chart), charts)


def _charts(facts: Facts, conclusion: Conclusion) -> dict[str, Chart]:
    from vegrt.report.figures import bundle_charts

    return bundle_charts(facts, conclusion.chosen)


def _names(all_facts: Sequence[Facts]) -> list[str]:
    """Return a name for each bundle, with its path if two have the same name."""
    names = [facts.bundle.manifest.name for facts in all_facts]
    return [
        name if names.count(name) == 1 else f"{name} ({facts.bundle.path})"
        for name, facts in zip(names, all_facts, strict=True)
    ]


def _folders(all_facts: Sequence[Facts]) -> list[str]:
    """Return the folder of each bundle's pictures: the requested one for a single bundle, otherwise a subfolder for each."""
    if len(all_facts) == 1:
        return [""]
    names = [_file_name(facts.bundle.manifest.name) for facts in all_facts]
    return [name if names.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(names, start=1)]


def _file_name(name: str) -> str:
    """Return a name that is valid on every file system."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip(".-") or "bundle"


def _write(parts: Sequence[_Part], outputs: ReportFiles) -> list[Path]:
    title = translate("Deployment report: {names}", names=", ".join(part.name for part in parts if part.conclusion))
    written = []
    if outputs.html is not None:
        linked = _linked(parts, outputs.html)
        write_text(outputs.html, _page(title, linked))
        written += [outputs.html, *_row_files(linked, outputs.html)]
    if outputs.markdown is not None:
        linked = _linked(parts, outputs.markdown)
        write_text(outputs.markdown, _markdown(title, linked, outputs))
        written += [outputs.markdown, *_row_files(linked, outputs.markdown)]
    return list(dict.fromkeys([*written, *_pictures(parts, outputs)]))


def _linked(parts: Sequence[_Part], document: Path) -> list[_Part]:
    return [replace(part, sections=linked_sections(part.sections, document, part.folder)) for part in parts]


def _row_files(parts: Sequence[_Part], document: Path) -> list[Path]:
    return [file for part in parts for file in write_row_files(part.sections, document.parent)]


def _page(title: str, parts: Sequence[_Part]) -> str:
    articles = [
        Article(part.name, part.sections, _verdict_panel(part), place=f"part{number}")
        for number, part in enumerate(parts, start=1)
    ]
    return page_html(title, articles, source=translate("result files"))


def _verdict_panel(part: _Part) -> VerdictPanel | None:
    if (conclusion := part.conclusion) is None:
        return None
    badge = verdict_words(conclusion.outcome)
    title = f"{part.name}: {conclusion.headline}"
    return VerdictPanel(badge, conclusion.outcome.lower(), title, conclusion.statements)


def _markdown(title: str, parts: Sequence[_Part], outputs: ReportFiles) -> str:
    assert outputs.markdown is not None
    picture_format, root = ("png", outputs.png) if outputs.png is not None else ("svg", outputs.svg)
    texts = [f"# {escape_markdown(title)}"]
    for part in parts:

        def link(chart: Chart, folder: str = part.folder) -> str | None:
            return (
                _link(outputs.markdown, root / folder / f"{chart.name}.{picture_format}") if root is not None else None
            )

        heading = f"## {escape_markdown(part.name)}"
        texts.append(verdict_markdown(part.name, part.conclusion) if part.conclusion else heading)
        texts.append(sections_markdown(part.sections, link))
    return "\n\n".join([*texts, escape_markdown(origin_sentence(translate("result files")))]) + "\n"


def _link(document: Path | None, picture: Path) -> str:
    assert document is not None
    return quote(Path(os.path.relpath(picture, document.parent)).as_posix())


def _pictures(parts: Sequence[_Part], outputs: ReportFiles) -> list[Path]:
    if outputs.png is None and outputs.svg is None:
        return []
    from vegrt.report.charts.pictures import warn_without_font, write_pictures

    if outputs.png is not None:
        warn_without_font()
    written = []
    for part in parts:
        if outputs.png is not None:
            written += write_pictures(part.charts.values(), outputs.png / part.folder, "png", subject=part.name)
        if outputs.svg is not None:
            written += write_pictures(part.charts.values(), outputs.svg / part.folder, "svg", subject=part.name)
    return written
