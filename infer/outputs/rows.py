"""What the model says of a batch, as rows: the same row as a line for people, a JSON object, and the cells of a table."""

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

UNSURE = "unsure"
DECIMALS = 6  # of a score in files
Score = Literal["probabilities", "logits"]


@dataclass(frozen=True, slots=True)
class RowFormat:
    """What of the model's answer belongs in a row.

    top_k: how many classes, the best first. scores: what stands beside a class. min_probability: of the best class; below it the
    label is `unsure` and the best class stands in a column of its own; 0: never. embedding: whether rows carry one.
    """

    top_k: int = 1
    scores: Score = "probabilities"
    min_probability: float = 0.0
    embedding: bool = False

    @property
    def score(self) -> str:
        """Return the name of the score's column."""
        return "probability" if self.scores == "probabilities" else "logit"

    def check(self, classes: Sequence[str]) -> None:
        """Raise VegrtError where `unsure` would be ambiguous."""
        if self.min_probability and UNSURE in classes:
            raise VegrtError(f"--min-probability: a class of this bundle is called {UNSURE!r} itself; leave it out")


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One item. ranked: (class, score), the best first; empty where there is an error. label: what is said of it."""

    path: str
    label: str = ""
    ranked: tuple[tuple[str, float], ...] = ()
    error: str = ""
    embedding: NDArray[np.float32] | None = None

    @property
    def score(self) -> float | None:
        """Return the best class's score; None where there is an error."""
        return self.ranked[0][1] if self.ranked else None


def rank(
    part: Decoded,
    logits: NDArray[np.float32],
    classes: Sequence[str],
    wanted: RowFormat,
    embeddings: NDArray[np.float32] | None = None,
) -> list[AnswerRow]:
    """Return a row per item of `part`. logits: (N, K) of its N photos; embeddings: (N, D) of them."""
    rows = [AnswerRow(item.name, error=part.errors.get(position, "")) for position, item in enumerate(part.items)]
    if not len(logits):
        return rows
    probabilities = softmax(logits)
    scores = probabilities if wanted.scores == "probabilities" else logits.astype(np.float64)
    best = top_classes(logits, wanted.top_k)
    values = np.round(np.take_along_axis(scores, best, axis=1), DECIMALS).tolist()
    sure = (probabilities.max(axis=1) >= wanted.min_probability).tolist()
    finite: list[bool] = np.isfinite(logits).all(axis=1).tolist()  # type: ignore[assignment]
    for number, (position, places) in enumerate(zip(part.readable, best.tolist(), strict=True)):
        if not finite[number]:
            rows[position] = AnswerRow(
                rows[position].path, error="the model's answer is not finite; export the bundle again"
            )
            continue
        ranked = tuple(zip([classes[place] for place in places], values[number], strict=True))
        label = ranked[0][0] if sure[number] else UNSURE
        rows[position] = AnswerRow(
            rows[position].path, label, ranked, "", embeddings[number] if embeddings is not None else None
        )
    return rows


def as_line(row: AnswerRow, wanted: RowFormat) -> str:
    """Return `path<TAB>class<TAB>score`, more pairs for more classes, or the error in place of them, on one line.

    For people: control characters in names are escaped, wherever the line goes.
    """
    path = printable(row.path)
    if row.error:
        return f"{path}\terror\t{printable(row.error)}"
    ranked = [(printable(label), f"{score:.4f}") for label, score in row.ranked]
    top = [ranked[0][0]] if wanted.min_probability else []
    return "\t".join([path, printable(row.label), ranked[0][1], *top, *(cell for pair in ranked[1:] for cell in pair)])


def as_record(row: AnswerRow, wanted: RowFormat) -> dict[str, Any]:
    """Return the row as JSON values, its classes and scores as a list where more than one was asked for."""
    record: dict[str, Any] = {"path": row.path, "label": row.label, wanted.score: row.score}
    if wanted.min_probability:
        record["top_label"] = row.ranked[0][0] if row.ranked else ""
    if wanted.top_k > 1:
        record["top_k"] = [{"label": label, wanted.score: score} for label, score in row.ranked]
    if wanted.embedding:
        record["embedding"] = as_numbers(row.embedding)
    return record | {"error": row.error}


def column_names(wanted: RowFormat, class_count: int) -> list[str]:
    """Return the columns of a table of rows, without the embedding: those of `as_cells`."""
    names = ["path", "label", wanted.score] + (["top_label"] if wanted.min_probability else [])
    for place in range(2, min(wanted.top_k, class_count) + 1):
        names += [f"label_{place}", f"{wanted.score}_{place}"]
    return [*names, "error"]


def as_cells(row: AnswerRow, wanted: RowFormat, class_count: int) -> list[Any]:
    """Return the row's values in the order of `column_names`, without the embedding; None where it has none."""
    ranked = row.ranked or (("", None),) * min(wanted.top_k, class_count)
    top = [ranked[0][0]] if wanted.min_probability else []
    return [row.path, row.label, row.score, *top, *(cell for pair in ranked[1:] for cell in pair), row.error]


def as_numbers(embedding: NDArray[np.float32] | None) -> list[float] | None:
    """Return an embedding for a text file, to seven decimals."""
    return None if embedding is None else np.round(embedding.astype(np.float64), 7).tolist()
