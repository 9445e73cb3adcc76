"""The report: one HTML file that opens offline, asks nothing of the network and says the verdict first."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from string import Template

from vegrt.errors import require
from vegrt.report.html.markup import Html, element, html, join
from vegrt.report.html.style import CSS
from vegrt.report.language.language import present_language, translate
from vegrt.version import __version__

_PAGE = Template(
    """<!doctype html>
<html lang="$language">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$css</style>
</head>
<body>
<a class="skip" href="#content">$skip</a>
<header><h1>$title</h1></header>
<main id="content" tabindex="-1">
$articles
</main>
<footer>$footer</footer>
<script>$vega</script>
<script>$start</script>
</body>
</html>
"""
)


def require_charts() -> None:
    """Raise MissingExtraError unless charts can be drawn."""
    for module in ("altair", "vl_convert"):
        require(module, "report")


def assemble(title: str, articles: Sequence[Html], *, source: str) -> str:
    """Return a whole page. source: what its facts were read from. Needs the `report` extra."""
    from vegrt.report.html.embed import policy, scripts

    vega, start = scripts()
    return _PAGE.substitute(
        language=present_language(),
        skip=html(translate("Skip to the content")),
        policy=html(policy()),
        title=html(title),
        css=CSS,
        articles=join(articles),
        footer=element("p", made_by(source)),
        vega=vega,
        start=start,
    )


def made_by(source: str) -> str:
    """Return what made a report, when, and from what."""
    made = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC"
    return translate(
        "Made by vegrt {version} on {made}, from {source} alone.", version=__version__, made=made, source=source
    )
