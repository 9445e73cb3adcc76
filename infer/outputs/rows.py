"""The answers of a batch as rows, and a row as a line for people, a JSON object, and the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import VegrtError
from vegrt.files.text import printable
from vegrt.infer.decode.pipeline import Decoded
from vegrt.infer.runtimes.logits import softmax, top_classes
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.trust.judge import Judge, Judgement

UNSURE = "unsure"
DECIMALS = 6  # of a score in files
REJECT_COLUMNS = ("decision", "set", "foreign_score")
ScoreKind = Literal["probabilities", "logits"]


@dataclass(frozen=True, slots=True)
class RowFormat:
    """Which parts of the model's answer a row holds.

    top_k: number of classes, the best first. scores: kind of the score of each class. min_probability: of the best class; below
    it the label is `unsure` and the best class has a column of its own; 0: never. embedding: whether rows hold one. reject:
    whether rows hold a judgement; probabilities are then calibrated.
    """

    top_k: int = 1
    scores: ScoreKind = "probabilities"
    min_probability: float = 0.0
    embedding: bool = False
    reject: bool = False

    @property
    def score(self) -> str:
        """Return the name of the score's column."""
        return "probability" if self.scores == "probabilities" else "logit"

    def check(self, classes: Sequence[str]) -> None:
        """Raise VegrtError where `unsure` would be ambiguous."""
        if self.min_probability and UNSURE in classes:
            raise VegrtError(
                f"--min-probability: a class of this bundle is called {UNSURE!r} itself; leave the option out"
            )


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One item. ranked: (class, score), the best first; empty where there is an error. label: the answer.

    judgement: only where it was requested.
    """

    path: str
    label: str = ""
    ranked: tuple[tuple[str, float], ...] = ()
    error: str = ""
    embedding: NDArray[np.float32] | None = None
    judgement: Judgement | None = None

    @property
    def score(self) -> float | None:
        """Return the best class's score; None where there is an error."""
        return self.ranked[0][1] if self.ranked else None


def error_rows(batch: Decoded) -> list[AnswerRow]:
    """Return a row per item of a batch, with its error and without an answer."""
    return [AnswerRow(item.name, error=batch.errors.get(position, "")) for position, item in enumerate(batch.items)]


def answer_rows(
    batch: Decoded, answers: Answers, classes: Sequence[str], row_format: RowFormat, judge: Judge | None = None
) -> list[AnswerRow]:
    """Return a row per item of a batch. answers: of its N readable photos. judge: of the answers, if rows hold a judgement."""
    logits, embeddings = answers.logits, answers.embeddings
    judged = judge.judge(answers) if judge else None
    probabilities = judged.probabilities if judged else softmax(logits)
    scores = probabilities if row_format.scores == "probabilities" else logits.astype(np.float64)
    best = top_classes(logits, row_format.top_k)
    values = np.round(np.take_along_axis(scores, best, axis=1), DECIMALS).tolist()
    confident = (probabilities.max(axis=1) >= row_format.min_probability).tolist()
    finite: list[bool] = np.isfinite(logits).all(axis=1).tolist()  # type: ignore[assignment]
    answered: list[AnswerRow] = []
    for number, (position, indices) in enumerate(zip(batch.readable, best.tolist(), strict=True)):
        path = batch.items[position].name
        if not finite[number]:
            answered.append(AnswerRow(path, error="the model's answer is not finite; export the bundle again"))
            continue
        ranked = tuple(zip([classes[index] for index in indices], values[number], strict=True))
        label = ranked[0][0] if confident[number] else UNSURE
        embedding = None if embeddings is None else embeddings[number]
        answered.append(AnswerRow(path, label, ranked, "", embedding, judged.judgements[number] if judged else None))
    return _with_errors(batch, answered) if batch.errors else answered


def _with_errors(batch: Decoded, answered: Sequence[AnswerRow]) -> list[AnswerRow]:
    """Return all rows of a batch. answered: those of the readable photos."""
    rows = error_rows(batch)
    for position, row in zip(batch.readable, answered, strict=True):
        rows[position] = row
    return rows


def as_line(row: AnswerRow, row_format: RowFormat) -> str:
    """Return `path<TAB>class<TAB>score`, more pairs for more classes, or the error instead, on one line.

    Control characters in names are escaped.
    """
    path = printable(row.path)
    if row.error:
        return f"{path}\terror\t{printable(row.error)}"
    ranked = [(printable(label), f"{score:.4f}") for label, score in row.ranked]
    top = [ranked[0][0]] if row_format.min_probability else []
    cells = [path, printable(row.label), ranked[0][1], *top, *(cell for pair in ranked[1:] for cell in pair)]
    if (judgement := row.judgement) is not None:
        members = "–" if judgement.set is None else f"{{{', '.join(map(printable, judgement.set))}}}"
        cells += [judgement.decision, members, f"{judgement.foreign_score:.4f}"]
    return "\t".join(cells)


def as_record(row: AnswerRow, row_format: RowFormat) -> dict[str, Any]:
    """Return the row as JSON values; with top_k > 1 its classes and scores are a list too."""
    record: dict[str, Any] = {"path": row.path, "label": row.label, row_format.score: row.score}
    if row_format.min_probability:
        record["top_label"] = row.ranked[0][0] if row.ranked else ""
    if row_format.top_k > 1:
        record["top_k"] = [{"label": label, row_format.score: score} for label, score in row.ranked]
    if row_format.reject:
        record |= zip(REJECT_COLUMNS, _judgement_cells(row), strict=True)
    if row_format.embedding:
        record["embedding"] = as_numbers(row.embedding)
    return record | {"error": row.error}


def column_names(row_format: RowFormat, class_count: int) -> list[str]:
    """Return the columns of a table of rows, without the embedding: those of `as_cells`."""
    names = ["path", "label", row_format.score] + (["top_label"] if row_format.min_probability else [])
    for place in range(2, min(row_format.top_k, class_count) + 1):
        names += [f"label_{place}", f"{row_format.score}_{place}"]
    return [*names, *(REJECT_COLUMNS if row_format.reject else ()), "error"]


def as_cells(row: AnswerRow, row_format: RowFormat, class_count: int) -> list[Any]:
    """Return the row's values in the order of `column_names`, without the embedding; None where it has none."""
    ranked = row.ranked or (("", None),) * min(row_format.top_k, class_count)
    top = [ranked[0][0]] if row_format.min_probability else []
    judgement = _judgement_cells(row) if row_format.reject else []
    others = [cell for pair in ranked[1:] for cell in pair]
    return [row.path, row.label, row.score, *top, *others, *judgement, row.error]


def _judgement_cells(row: AnswerRow) -> list[Any]:
    """Return the values of REJECT_COLUMNS; the set is a list."""
    if (judgement := row.judgement) is None:
        return ["", None, None]
    return [judgement.decision, None if judgement.set is None else list(judgement.set), judgement.foreign_score]


def as_numbers(embedding: NDArray[np.float32] | None) -> list[float] | None:
    """Return an embedding for a text file, to seven decimals."""
    return None if embedding is None else np.round(embedding.astype(np.float64), 7).tolist()
