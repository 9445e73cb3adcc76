"""One training run as a page: the verdicts first, then the curves and the photos that they rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from vegrt.files.atomic import write_text
from vegrt.report.html.markup import Html, element, fact_table, join, section, table
from vegrt.report.html.page import assemble, require_charts
from vegrt.report.html.photos import missing, thumbnail
from vegrt.report.run.text import (
    CONFUSION_HEADS,
    EPOCH_HEADS,
    MAX_CONFUSIONS,
    capital,
    confusion_cells,
    epoch_cells,
    findings,
)
from vegrt.train.history.explain import Finding
from vegrt.train.history.mistakes import Mistake, confusions
from vegrt.train.history.records import EpochRecord
from vegrt.train.history.runs_db import Run

_MAX_EXAMPLES = 4  # photos of each confusion


def write_run_page(run: Run, out: Path) -> None:
    """Write the page to the one file `out`, whole or not at all. Photos that are still there are embedded in it.

    Raises MissingExtraError without the `report` extra.
    """
    require_charts()
    title = f"Training run: {run.recipe.get('backbone', 'unknown')} {run.id}"
    write_text(out, assemble(title, [_article(run)], source="the run history"))


def _article(run: Run) -> Html:
    from vegrt.report.charts.run import run_charts
    from vegrt.report.html.embed import chart_figure

    found = findings(run)
    charts = {name: chart_figure(chart) for name, chart in run_charts(run).items()}
    curves = [charts[name] for name in ("loss", "accuracy") if name in charts]
    parts = [
        _verdict(run, found),
        section("Loss and accuracy", _charts(curves)),
        section("Gradients", charts.get("gradients", "")),
        section("What is taken for what", *_confusions(run, charts.get("confusion", Html("")))),
        section("The photos of the highest loss", _hardest(run)),
        _epochs(run.epochs),
        _facts(run),
    ]
    return element("article", join(filter(None, parts)), aria_label=run.id)


def _verdict(run: Run, found: Sequence[Finding]) -> Html:
    if not found:
        badge, headline, look = "NO EPOCH", "no epoch was finished", "unknown"
    else:
        (first, *_), concerns = found, sum(finding.concern for finding in found)
        badge = f"{concerns} CONCERN{'S' * (concerns > 1)}" if concerns else "NO CONCERN"
        headline, look = first.headline, "inconclusive" if concerns else "pass"
    best = run.best()
    text = f"The run is {run.status}, with {len(run.epochs)} epochs recorded"
    if best is not None:
        text += f"; the best is epoch {best.epoch}: {best.validation_accuracy:.2%} of the validation photos right"
    said = [element("p", element("strong", f"{capital(one.headline)}. "), one.text) for one in found]
    title = element("h2", f"{run.recipe.get('backbone', 'Run')}: {headline}")
    parts = [element("p", element("span", badge, class_="badge")), title, element("p", f"{text}."), *said]
    return element("div", *parts, class_=f"verdict {look}")


def _charts(parts: Sequence[Html]) -> Html:
    return element("div", join(parts), class_="charts") if parts else Html("")


def _confusions(run: Run, chart: Html) -> list[Html]:
    """Return the most frequent confusions as chart and table, and photos of each that the history remembers."""
    most = confusions(run.explanation, MAX_CONFUSIONS)
    if not most:
        return (
            [chart, element("p", "None: every validation photo was answered rightly.")]
            if run.explanation.confusion
            else []
        )
    caption = "The most frequent confusions of the best epoch"
    tabled = table(caption, CONFUSION_HEADS, map(confusion_cells, most), text_columns=2)
    photos = [_figure(run, miss) for one in most for miss in one.examples[:_MAX_EXAMPLES]]
    gallery = [element("p", "Photos of these, the most frequent confusion first:"), _gallery(photos)] if photos else []
    return [_charts([part for part in (chart, tabled) if part]), *gallery]


def _hardest(run: Run) -> Html:
    worst = run.explanation.hardest
    if not worst:
        return Html("")
    text = "Validation photos to which the best epoch gave their own class the least probability. Look here for wrong labels."
    return join([element("p", text), _gallery([_figure(run, miss) for miss in worst])])


def _gallery(figures: Sequence[Html]) -> Html:
    return element("div", join(figures), class_="gallery")


def _figure(run: Run, miss: Mistake) -> Html:
    path, right = Path(miss.photo), miss.label == miss.answer
    name = str(path.relative_to(run.data) if path.is_relative_to(run.data) else path)
    caption = [
        element("strong", miss.label),
        element("ul", element("li", f"{'✓' if right else '✗'} {miss.answer}", class_="right" if right else "wrong")),
        element("span", f"loss {miss.loss:.2f}; its class got {math.exp(-miss.loss):.2%}", class_="kind"),
        element("small", name),
    ]
    photo = thumbnail(path, name) or missing()
    return element("figure", photo, element("figcaption", *caption))


def _epochs(epochs: Sequence[EpochRecord]) -> Html:
    rows = [epoch_cells(record) for record in epochs]
    return section("Epochs", table("Every epoch as it was recorded", EPOCH_HEADS, rows, text_columns=2) if rows else "")


def _facts(run: Run) -> Html:
    facts = {"run": run.id, "status": run.status, "started": run.started, "ended": run.ended or "not recorded"}
    facts |= {"bundle": run.bundle, "data": run.data}
    facts |= {name: str(value) for name, value in run.recipe.items()}
    return section("Recipe", fact_table("What the run was started with", facts.items()))
