"""Results as HTML for notebooks: the verdict, the table and the chart that the report has of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from vegrt.api.outcomes import Calibrated, Exported, LearnedTrust, Reported, Trained
from vegrt.bundle.bundle import Bundle
from vegrt.errors import MissingExtraError
from vegrt.evaluate.trust.tables import HEADINGS as TRUST_HEADINGS
from vegrt.evaluate.trust.tables import trust_cells
from vegrt.report.evaluation import candidates_table, evaluation_verdict
from vegrt.report.html.blocks import Block, Chart, charts_of, fact_table_of, table_of, verdict_words
from vegrt.report.html.page import VerdictPanel, fragment_html, require_charts
from vegrt.report.summary import HEADINGS, TEXT_COLUMNS, summary_row
from vegrt.results.analysis import Robustness
from vegrt.results.benchmark import Bench
from vegrt.results.evaluation import Evaluation
from vegrt.results.verdict import worst_verdict

_SPEED = (0, 1, 6, 7, 8, 9)  # of HEADINGS
_NONE = "–"


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a notebook shows of a result; None: it has none."""

    verdict: VerdictPanel | None
    blocks: Iterable[Block | None]


def notebook_html(result: object) -> str | None:
    """Return a result as an HTML fragment without scripts; None without the `report` extra, or for a result of another kind."""
    try:
        require_charts()
    except MissingExtraError:
        return None
    for kind, parts_of in _PARTS.items():
        if isinstance(result, kind):
            parts = parts_of(result)
            return fragment_html(parts.verdict, [block for block in parts.blocks if block is not None])
    return None


def _evaluation(evaluation: Evaluation) -> _Parts:
    from vegrt.report.figures import confusion_chart

    chart = confusion_chart(evaluation, _worst_key(evaluation))
    return _Parts(evaluation_verdict(evaluation), [candidates_table(evaluation), charts_of(chart)])


def _worst_key(evaluation: Evaluation) -> str:
    """Return the key of the first candidate with the worst verdict; empty if none was judged."""
    outcome = worst_verdict(row.gate.verdict for row in evaluation.candidates)
    return next((row.key for row in evaluation.candidates if row.gate.verdict == outcome), "")


def _bench(bench: Bench) -> _Parts:
    from vegrt.report.figures import throughput_chart

    rows = [summary_row(row, None, row.batches).cells() for row in bench.candidates]
    headings = [HEADINGS[column] for column in _SPEED]
    cells = [[row[column] for column in _SPEED] for row in rows]
    table = table_of(f"{bench.bundle.name} on {bench.machine.cpu}", headings, cells, text_columns=2)
    return _Parts(None, [table, charts_of(throughput_chart({"": bench}))])


def _robustness(robustness: Robustness) -> _Parts:
    from vegrt.report.figures import robustness_chart
    from vegrt.report.summary import drop_text

    rows = [(extra.candidate, drop_text(extra.extra_drop)) for extra in robustness.summary]
    table = table_of(
        f"{robustness.images:,} corrupted photos", ("candidate", "extra drop, points"), rows, text_columns=1
    )
    return _Parts(None, [table, charts_of(robustness_chart(robustness, ""))])


def _trained(trained: Trained) -> _Parts:
    from vegrt.report.figures import training_charts

    training = trained.bundle.manifest.training
    facts = [
        ("bundle", str(trained.bundle.path)),
        ("validation accuracy", f"{trained.validation_accuracy:.2%} in epoch {trained.best_epoch}"),
        ("duration", f"{training['seconds'] / 60:.1f} minutes on {training['device']}"),
    ]
    return _Parts(None, [fact_table_of("Training", facts), charts_of(*training_charts(dict(training)))])


def _exported(exported: Exported) -> _Parts:
    facts = [(stage, f"{seconds:.1f} s") for stage, seconds in exported.seconds.items()]
    return _Parts(None, [_artifacts(exported.bundle), *_tournament(exported.bundle), fact_table_of("Time", facts)])


def _calibrated(calibrated: Calibrated) -> _Parts:
    from vegrt.report.figures import sensitivity_chart

    sensitivity = charts_of(sensitivity_chart(calibrated.analyses.sensitivity))
    return _Parts(None, [_artifacts(calibrated.bundle), *_tournament(calibrated.bundle), sensitivity])


def _artifacts(bundle: Bundle) -> Block | None:
    rows = [
        (artifact.path, f"{artifact.size_bytes / 1e6:.1f}", _agreement(artifact.details))
        for artifact in bundle.manifest.artifacts
        if artifact.role in ("model", "mnn", "engine")
    ]
    return table_of(str(bundle.path), ("file", "MB", "same top-1 as its reference"), rows, text_columns=1)


def _agreement(details: dict[str, Any]) -> str:
    parity = details.get("parity")
    return f"{parity['top1_agreement']:.1%} of {parity['images']} photos" if parity else _NONE


def _tournament(bundle: Bundle) -> Iterable[Block | None]:
    from vegrt.report.figures import tournament_chart

    yield charts_of(tournament_chart(bundle.manifest.calibration))


def _trust(learned: LearnedTrust) -> _Parts:
    trust = learned.trust
    rows = [trust_cells(row) for row in trust.candidates]
    caption = f"{trust.photos} validation photos, at most {100 * trust.max_error:g} % errors among accepted answers"
    return _Parts(None, [table_of(caption, TRUST_HEADINGS, rows, text_columns=1)])


def _reported(reported: Reported) -> _Parts:
    blocks: list[Block | None] = []
    charts: list[Chart | None] = []
    from vegrt.report.figures import accuracy_latency_chart

    for facts, (path, rows) in zip(reported.facts, reported.summaries.items(), strict=True):
        blocks.append(table_of(path, HEADINGS, [row.cells() for row in rows], text_columns=TEXT_COLUMNS))
        charts.append(accuracy_latency_chart(facts))
    files = [("report", str(file)) for file in reported.written]
    panel = _panel(reported) if len(reported.facts) == 1 else None
    return _Parts(panel, [*blocks, charts_of(*charts), fact_table_of("Files", files)])


def _panel(reported: Reported) -> VerdictPanel:
    ((path, conclusion),) = reported.conclusions.items()
    title = f"{path}: {conclusion.headline}"
    return VerdictPanel(verdict_words(conclusion.outcome), conclusion.outcome.lower(), title, conclusion.statements)


_PARTS: dict[type, Callable[[Any], _Parts]] = {
    Evaluation: _evaluation,
    Bench: _bench,
    Robustness: _robustness,
    Trained: _trained,
    Exported: _exported,
    Calibrated: _calibrated,
    LearnedTrust: _trust,
    Reported: _reported,
}
