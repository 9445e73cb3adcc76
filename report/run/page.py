"""A training run as a page: first the findings, then the curves and photos behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from vegrt.files.atomic import write_text
from vegrt.report.html.blocks import (
    AnswerLine,
    Block,
    Chart,
    Gallery,
    PhotoCard,
    Section,
    Statement,
    Text,
    charts_of,
    fact_table_of,
    section_of,
    sections_of,
    table_of,
)
from vegrt.report.html.page import Article, VerdictPanel, page_html, require_charts
from vegrt.report.html.photos import thumbnail_of
from vegrt.report.run.text import (
    CONFUSION_HEADINGS,
    EPOCH_HEADINGS,
    MAX_CONFUSIONS,
    capitalized,
    confusion_cells,
    epoch_cells,
    run_findings,
)
from vegrt.train.history.mistakes import Mistake, confusions
from vegrt.train.history.runs_db import Run

_MAX_EXAMPLES = 4  # photos of each confusion


def write_run_page(run: Run, out: Path) -> None:
    """Write the page to the single file `out`, atomically. Photos that still exist are embedded.

    Raises MissingExtraError without the `report` extra.
    """
    require_charts()
    from vegrt.report.charts.run import run_charts

    title = f"Training run: {run.recipe.get('backbone', 'unknown')} {run.id}"
    sections = _sections(run, run_charts(run))
    article = Article(run.id, sections, _verdict_panel(run), place="run", has_contents=False)
    write_text(out, page_html(title, [article], source="the run history"))


def _verdict_panel(run: Run) -> VerdictPanel:
    findings = run_findings(run)
    concerns = sum(finding.concern for finding in findings)
    if not findings:
        badge, headline, look = "NO EPOCH", "no epoch was finished", "unknown"
    elif concerns:
        badge, headline, look = f"{concerns} CONCERN{'S' * (concerns > 1)}", findings[0].headline, "inconclusive"
    else:
        badge, headline, look = "NO CONCERN", findings[0].headline, "pass"
    title = f"{run.recipe.get('backbone', 'Run')}: {headline}"
    statements = [Statement(f"{capitalized(finding.headline)}.", finding.text) for finding in findings]
    return VerdictPanel(badge, look, title, (Statement("", _status(run)), *statements))


def _status(run: Run) -> str:
    text = f"Status: {run.status}, {len(run.epochs)} epochs recorded"
    best = run.best()
    if best is None:
        return f"{text}."
    return f"{text}; best epoch: {best.epoch}, validation accuracy {best.validation_accuracy:.2%}."


def _sections(run: Run, charts: Mapping[str, Chart]) -> list[Section]:
    epochs = [epoch_cells(record) for record in run.epochs]
    return sections_of(
        section_of("curves", "Loss and accuracy", charts_of(charts.get("loss"), charts.get("accuracy"))),
        section_of("gradients", "Gradients", charts_of(charts.get("gradients"))),
        section_of("confusion", "Confusion matrix", *_confusion_blocks(run, charts.get("confusion"))),
        section_of("hardest", "Photos with the highest loss", _hardest_gallery(run)),
        section_of("epochs", "Epochs", table_of("All recorded epochs", EPOCH_HEADINGS, epochs, text_columns=2)),
        section_of("recipe", "Recipe", fact_table_of("Settings of the run", _settings(run).items())),
    )


def _confusion_blocks(run: Run, chart: Chart | None) -> list[Block | None]:
    """Return the most frequent confusions as chart and table, and the photos of each that the history stores."""
    most_frequent = confusions(run.explanation, MAX_CONFUSIONS)
    if not most_frequent:
        right = (
            Text("No confusions: all validation photos were classified correctly.")
            if run.explanation.confusion
            else None
        )
        return [charts_of(chart), right]
    caption = "Most frequent confusions of the best epoch"
    table = table_of(caption, CONFUSION_HEADINGS, map(confusion_cells, most_frequent), text_columns=2)
    cards = [_card(run, photo) for confusion in most_frequent for photo in confusion.examples[:_MAX_EXAMPLES]]
    introduction = "Photos of these confusions, the most frequent first:"
    return [charts_of(chart), table, Gallery((introduction,), tuple(cards)) if cards else None]


def _hardest_gallery(run: Run) -> Gallery | None:
    if not (mistakes := run.explanation.hardest):
        return None
    text = "Validation photos whose true class got the lowest probability in the best epoch. Check their labels."
    return Gallery((text,), tuple(_card(run, mistake) for mistake in mistakes))


def _card(run: Run, mistake: Mistake) -> PhotoCard:
    path = Path(mistake.photo)
    name = str(path.relative_to(run.data) if path.is_relative_to(run.data) else path)
    status = f"loss {mistake.loss:.2f}; probability of its class {math.exp(-mistake.loss):.2%}"
    answer = AnswerLine(mistake.answer, mistake.label == mistake.answer)
    return PhotoCard(mistake.label, name, status, (answer,), thumbnail_of(path, name))


def _settings(run: Run) -> dict[str, str]:
    run_facts = {"run": run.id, "status": run.status, "started": run.started, "ended": run.ended or "not recorded"}
    places = {"bundle": run.bundle, "data": run.data}
    return run_facts | places | {name: str(value) for name, value in run.recipe.items()}
