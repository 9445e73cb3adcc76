"""The report: one HTML file that opens offline, asks nothing of the network and says the verdict first."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from string import Template

from vegrt import __version__
from vegrt.bundle import Bundle
from vegrt.errors import VegrtError, require
from vegrt.files import write_text
from vegrt.report.facts import load_facts
from vegrt.report.markup import Html, element, html, join
from vegrt.report.style import CSS

_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$css</style>
</head>
<body>
<header><h1>$title</h1></header>
<main>
$articles
</main>
<footer>$footer</footer>
<script>$vega</script>
<script>$start</script>
</body>
</html>
"""
)


def write_report(bundles: Sequence[Bundle], out: Path, *, data: Path | None = None) -> None:
    """Write the report on `bundles` to the one file `out`, whole or not at all.

    data: the folder that was evaluated, for the photos in the flips gallery; they are embedded, much reduced.
    Raises VegrtError when a bundle has no results, MissingExtraError without the `report` extra.
    """
    if not bundles:
        raise VegrtError("report: no bundle named; expected: vegrt report BUNDLE... -o report.html")
    facts = [load_facts(bundle) for bundle in bundles]
    require_charts()
    from vegrt.report.sections import bundle_article

    title = f"Deployment report: {', '.join(bundle.manifest.name for bundle in bundles)}"
    articles = [bundle_article(one, data) for one in facts]
    write_text(out, assemble(title, articles, source="result files"))


def require_charts() -> None:
    """Raise MissingExtraError unless charts can be drawn."""
    for module in ("altair", "vl_convert"):
        require(module, "report")


def assemble(title: str, articles: Sequence[Html], *, source: str) -> str:
    """Return a whole page. source: what its facts were read from. Needs the `report` extra."""
    from vegrt.report.embed import policy, scripts

    vega, start = scripts()
    made = datetime.datetime.now(datetime.timezone.utc).strftime("%d %B %Y, %H:%M UTC")
    return _PAGE.substitute(
        policy=html(policy()),
        title=html(title),
        css=CSS,
        articles=join(articles),
        footer=element("p", f"Made by vegrt {__version__} on {made}, from {source} alone."),
        vega=vega,
        start=start,
    )
