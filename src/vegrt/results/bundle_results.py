"""All results of a bundle that count: the one rule that infer, report, verify and the model card use."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from vegrt.bundle.bundle import Bundle
from vegrt.results.benches import MergedBench, read_benches
from vegrt.results.evaluations import MergedEvaluation, read_evaluation
from vegrt.results.rows import IgnoredRow

log = logging.getLogger(__name__)
_IGNORED: dict[str, str] = {  # cause to words
    "other-artifact": "measured on files that the bundle no longer holds",
    "unknown-engine": "does not state which of several engines ran",
    "other-engine": "states another engine than the manifest",
    "other-photos": "other photos than in the main result",
    "other-reference": "compared with another reference than in the main result",
}


@dataclass(frozen=True, slots=True)
class BundleResults:
    """The results of a bundle. evaluation: on its own test split. benches: one per machine, the main one first."""

    evaluation: MergedEvaluation | None
    benches: tuple[MergedBench, ...]
    ignored: tuple[IgnoredRow, ...]


def read_results(bundle: Bundle, *, with_predictions: bool = False) -> BundleResults:
    """Return all results of a bundle that count, and those that do not. with_predictions: see `read_evaluation`."""
    evaluation, ignored = read_evaluation(bundle, "test", with_predictions=with_predictions)
    benches, more = read_benches(bundle)
    return BundleResults(evaluation, tuple(benches), (*ignored, *more))


def log_ignored(bundle: Bundle, ignored: Sequence[IgnoredRow]) -> None:
    """Log a warning for each file with rows that do not count."""
    for file, sentence in ignored_sentences(ignored).items():
        log.warning("%s: %s", bundle.path / file, sentence)


def ignored_sentences(ignored: Sequence[IgnoredRow]) -> dict[str, str]:
    """Return by file, such as results/bench.json, which of its rows do not count, and why."""
    files = dict.fromkeys(row.file for row in ignored)
    return {f"results/{file}.json": ignored_sentence([row for row in ignored if row.file == file]) for file in files}


def ignored_sentence(rows: Sequence[IgnoredRow]) -> str:
    """Return which rows of one file do not count, and why."""
    keys: dict[str, list[str]] = {}
    for row in rows:
        keys.setdefault(row.cause, []).append(row.key or "all rows")
    reasons = [f"{', '.join(names)}: {_IGNORED[cause]}" for cause, names in keys.items()]
    return f"{'; '.join(reasons)}; ignored, measure again"
