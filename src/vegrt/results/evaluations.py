"""The evaluations of one set of photos as one: the newest row of each candidate, whichever file holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vegrt.bundle.bundle import Bundle
from vegrt.results.common import Command
from vegrt.results.evaluation import (
    CandidateAnswers,
    CandidateResult,
    Evaluation,
    Figures,
    NotRun,
    Predictions,
    PredictionsFile,
)
from vegrt.results.files import load_stored
from vegrt.results.predictions import read_predictions
from vegrt.results.rows import PARTIAL, IgnoredRow, RowId, row_id, row_key, split_rows, stored_names

_SHIPPED_ROLES = ("model", "engine")


@dataclass(frozen=True, slots=True)
class MergedEvaluation:
    """The rows that count, as one evaluation. commands: those that measured them, the main file's first."""

    evaluation: Evaluation
    commands: tuple[Command | None, ...]


def read_evaluation(
    bundle: Bundle, name: str, *, with_predictions: bool = False
) -> tuple[MergedEvaluation | None, list[IgnoredRow]]:
    """Return the evaluation of a set of photos, and what was ignored. name: of the set, `test` for the bundle's own test split.

    evaluate-<name>.json is the main file; without it, the newest of some candidates. A file counts if its photos and its
    reference are those of the main file. with_predictions: read those that are in Parquet files too; without it,
    `predictions` may name such a file, of the main file's candidates only. With it, raises as `read_predictions` does.
    """
    files: list[tuple[str, Evaluation]] = []
    ignored: list[IgnoredRow] = []
    for file in stored_names(bundle, f"evaluate-{name}", f"evaluate-{name}{PARTIAL}*"):
        if (stored := load_stored(bundle, Evaluation, file)) is None:
            continue
        rows, faults = split_rows(bundle, file, stored.candidates)
        ignored += faults
        if rows and rows[0] is stored.candidates[0]:
            files.append((file, replace(stored, candidates=rows)))
        else:  # without its reference, no row says what its drop is against
            ignored += [IgnoredRow(file, row.key, "other-reference") for row in rows]
    if not files:
        return None, ignored
    main = files[0] if files[0][0] == f"evaluate-{name}" else max(files, key=lambda file: file[1].created)
    counting = [main[1]]
    for file, stored in files:
        if fault := _difference(main[1], stored):
            ignored.append(IgnoredRow(file, "", fault))
        elif file != main[0]:
            counting.append(stored)
    if with_predictions:
        folder = bundle.path / "results"
        counting = [replace(stored, predictions=read_predictions(folder, stored)) for stored in counting]
    return _merged(bundle, counting), ignored


def _difference(main: Evaluation, other: Evaluation) -> Literal["other-photos", "other-reference"] | None:
    def photos(result: Evaluation) -> tuple[object, ...]:
        return (result.data_fingerprint, result.classes, result.predictions.photos_sha256)

    if photos(main) != photos(other):
        return "other-photos"
    return None if row_id(main.candidates[0]) == row_id(other.candidates[0]) else "other-reference"


def _merged(bundle: Bundle, files: Sequence[Evaluation]) -> MergedEvaluation:
    """Return files of the same photos and reference as one evaluation. files: the main one first."""
    main, newest_last = files[0], sorted(files, key=lambda file: file.created)
    order = dict.fromkeys(row_id(row) for file in files for row in file.candidates)
    newest: dict[RowId, tuple[CandidateResult, Evaluation]] = {row_id(main.candidates[0]): (main.candidates[0], main)}
    for file in newest_last:
        newest |= {row_id(row): (row, file) for row in file.candidates[1:]}
    pairs = [newest[candidate] for candidate in order]
    rows = tuple(replace(_with_margin(row, file, main), key=row_key(bundle, row)) for row, file in pairs)
    leaked = next((file.leaked for file in files if file.leaked is not None), None)
    evaluation = replace(
        main,
        candidates=rows,
        predictions=_merged_predictions(bundle, main, pairs),
        leaked=leaked,
        not_run=_not_run(bundle, files, rows),
    )
    used = [file for file in files if any(source is file for _, source in pairs)]
    return MergedEvaluation(evaluation, tuple(file.command for file in used))


def _merged_predictions(
    bundle: Bundle, main: Evaluation, pairs: Sequence[tuple[CandidateResult, Evaluation]]
) -> Predictions | PredictionsFile:
    """Return the answers of all rows; the main file's reference to its Parquet file if one of them is in such a file."""
    answers: dict[str, CandidateAnswers] = {}
    for row, file in pairs:
        if isinstance(file.predictions, PredictionsFile):
            return main.predictions
        answers[row_key(bundle, row)] = file.predictions.candidates[row.key]
    if isinstance(main.predictions, PredictionsFile):
        return main.predictions
    return Predictions(main.predictions.paths, main.predictions.labels, answers)


def _with_margin(row: CandidateResult, file: Evaluation, main: Evaluation) -> CandidateResult:
    """Return the row with the margin of its verdict, where that is not the main file's."""
    if file.margin_points == main.margin_points:
        return row

    def stated(figures: Figures) -> Figures:
        return replace(figures, gate=replace(figures.gate, margin_points=file.margin_points))

    clean = stated(row.without_leaks) if row.without_leaks else None
    return replace(row, gate=replace(row.gate, margin_points=file.margin_points), without_leaks=clean)


def _not_run(bundle: Bundle, files: Sequence[Evaluation], rows: Sequence[CandidateResult]) -> tuple[NotRun, ...]:
    """Return the artifacts that no row is about, with the reason of the newest file that states one."""
    hashes = {row.artifact_sha256 for row in rows}
    reasons = {
        missing.artifact: missing for file in sorted(files, key=lambda file: file.created) for missing in file.not_run
    }
    return tuple(
        reasons.get(artifact.path, NotRun(artifact.path, "added-since"))
        for artifact in bundle.manifest.artifacts
        if artifact.sha256 not in hashes and (artifact.path in reasons or artifact.role in _SHIPPED_ROLES)
    )
