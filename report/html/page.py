"""HTML pages: one file that opens offline, requests nothing from the network and shows the verdict first."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vegrt.errors import require
from vegrt.report.html.blocks import Block, Section, Statement
from vegrt.report.language.language import present_language, translate
from vegrt.version import __version__


@dataclass(frozen=True, slots=True)
class VerdictPanel:
    """The verdict at the top of an article. look: the CSS class pass, fail, inconclusive or unknown."""

    badge: str
    look: str
    title: str
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Article:
    """One subject of a page. place: prefix of its sections' identifiers. has_contents: whether it has links to its sections."""

    name: str
    sections: Sequence[Section]
    verdict: VerdictPanel | None = None
    place: str = "part1"
    has_contents: bool = True


def require_charts() -> None:
    """Raise MissingExtraError unless pages and charts can be made."""
    for module in ("altair", "vl_convert", "jinja2"):
        require(module, "report")


def page_html(title: str, articles: Sequence[Article], *, source: str) -> str:
    """Return a whole page. source: origin of the facts, for the footer. Needs the `report` extra."""
    from vegrt.report.html.embed import content_policy, embed_chart, page_scripts
    from vegrt.report.html.templates import fill_template, read_asset

    vega, start = page_scripts()
    words = {
        "skip": translate("Skip to the content"),
        "contents": translate("Contents"),
        "commands": translate("Commands"),
        "no_photo": translate("photo not shown"),
    }
    return fill_template(
        "page.html",
        title=title,
        articles=articles,
        language=present_language(),
        words=words,
        policy=content_policy(),
        css=read_asset("style.css"),
        footer=origin_sentence(source),
        vega=vega,
        start=start,
        embed_chart=embed_chart,
    ).lstrip()


def fragment_html(verdict: VerdictPanel | None, blocks: Sequence[Block]) -> str:
    """Return blocks as part of another page, such as a notebook: static, without a script. Needs the `report` extra.

    The style sheet is nested in the fragment's class, so that it does not touch the page around it; the fragment has its own
    background, because that page may be dark where the system is light.
    """
    from markupsafe import Markup

    from vegrt.report.html.embed import embed_chart
    from vegrt.report.html.templates import fill_template, read_asset

    sheet = str(read_asset("style.css"))
    for top in (":root", "body"):
        sheet = sheet.replace(f"{top} {{", "& {")
    words = {"commands": translate("Commands"), "no_photo": translate("photo not shown")}
    return fill_template(
        "fragment.html",
        verdict=verdict,
        content=blocks,
        words=words,
        css=Markup(sheet),
        embed_chart=lambda chart: replace(embed_chart(chart), specs=Markup("")),
    ).lstrip()


def origin_sentence(source: str) -> str:
    """Return the footer: version, time and source of the report."""
    time = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC"
    return translate(
        "Made by vegrt {version} on {time}, from {source} only.", version=__version__, time=time, source=source
    )
