"""All results of a bundle that count: the one rule that infer, report, verify and the model card use."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from vegrt.bundle.bundle import Bundle
from vegrt.results.benches import MergedBench, read_benches
from vegrt.results.evaluations import MergedEvaluation, read_evaluation
from vegrt.results.rows import IgnoredRow
from vegrt.results.wording import ignored_sentence

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BundleResults:
    """The results of a bundle. evaluation: on its own test split. benches: one per machine, the main one first."""

    evaluation: MergedEvaluation | None
    benches: tuple[MergedBench, ...]
    ignored: tuple[IgnoredRow, ...]


def read_results(bundle: Bundle) -> BundleResults:
    """Return all results of a bundle that count. Logs a warning for each file with rows that do not."""
    evaluation, ignored = read_evaluation(bundle, "test")
    benches, more = read_benches(bundle)
    log_ignored(bundle, [*ignored, *more])
    return BundleResults(evaluation, tuple(benches), (*ignored, *more))


def log_ignored(bundle: Bundle, ignored: Sequence[IgnoredRow]) -> None:
    """Log a warning for each file with rows that do not count."""
    for file in dict.fromkeys(row.file for row in ignored):
        rows = [row for row in ignored if row.file == file]
        log.warning("%s: %s", bundle.path / "results" / f"{file}.json", ignored_sentence(rows))
