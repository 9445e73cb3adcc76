"""The rows of an answers file as they are written: docs/answers.md has the names. No value is compared with the photos here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import FormatError

ScoreName = Literal["logit", "probability"]
SCORES: dict[ScoreName, str] = {"logit": "logits", "probability": "probabilities"}  # one score, and the list of all
_PHOTO, _LABELS = ("photo", "path"), ("top_label", "label", "top1")  # the first that a file has counts
TEXT_LENGTH = 8192  # of a path, a name or an error
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One row of an answers file.

    photo: path, or SHA-256 of the photo's bytes, as written. sha256: that of a column of its own. label: name or index of the
    answer's class, as written. scores: (K,) in the order of the bundle's classes, of the kind `score`. probability, second: of
    the best and the second best class, where there are no scores. error: why there is no answer; empty where there is one. All
    else is None or empty where the row has none.
    """

    photo: str = ""
    sha256: str = ""
    label: str = ""
    scores: NDArray[np.float32] | None = None
    score: ScoreName = "logit"
    probability: float | None = None
    second: float | None = None
    latency_ms: float | None = None
    images_per_s: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the columns of a file have what an answer consists of.

    photo, sha256, label: names of columns; empty: none. score: the kind of all scores. flat: their columns, one for each of the
    bundle's classes. listed: the column with a list of them. ranks: pairs of columns with a class and its score, the best first.
    order: for each of the bundle's classes, the place of its score in a list.
    """

    classes: tuple[str, ...]
    photo: str = ""
    sha256: str = ""
    label: str = ""
    score: ScoreName = "logit"
    flat: tuple[str, ...] = ()
    listed: str = ""
    ranks: tuple[tuple[str, str], ...] = ()
    order: tuple[int, ...] | None = None
    _places: dict[str, int] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, columns: Sequence[str], classes: Sequence[str], file_classes: Sequence[str] | None = None) -> Layout:
        """Return the layout of a file with these columns.

        classes: of the bundle, in label order. file_classes: the order of the file's lists, where it states one. Raises
        FormatError for columns without photo or answer, and for classes that are not the bundle's.
        """
        if repeated := [name for name in columns if list(columns).count(name) > 1] if len(columns) < 64 else []:
            raise FormatError(f"has the column {shown(repeated[0])} twice")
        if len(set(columns)) < len(columns):
            raise FormatError("has a column twice")
        layout = cls(
            tuple(classes),
            photo=next((name for name in _PHOTO if name in columns), ""),
            sha256="sha256" if "sha256" in columns else "",
            label=next((name for name in _LABELS if name in columns), ""),
            order=None if file_classes is None else order_of(file_classes, classes),
            _places={name: place for place, name in enumerate(classes)},
            **_scores(columns, classes),
        )
        if not (layout.photo or layout.sha256):
            raise FormatError(f"has no column photo, path or sha256; its columns are {listed(columns)}")
        if not (layout.label or layout.flat or layout.listed):
            raise FormatError(
                f"has no answers: expected logit_0 to logit_{len(classes) - 1}, logits, probabilities or label; "
                f"its columns are {listed(columns)}"
            )
        return layout

    @property
    def columns(self) -> set[str]:
        """Return the names of the columns that may hold a part of the answer."""
        own = (
            self.photo,
            self.sha256,
            self.label,
            self.listed,
            *self.flat,
            *(name for pair in self.ranks for name in pair),
        )
        return {name for name in (*own, "error", "latency_ms", "images_per_s") if name}

    def row(self, values: Mapping[str, Any]) -> AnswerRow:
        """Return the answer in a row, given by column. Raises FormatError for a value of another type."""
        photo, sha256, label = (_text_in(values, column) for column in (self.photo, self.sha256, self.label))
        if error := _text_in(values, "error"):
            return AnswerRow(photo, sha256, error=error)
        return AnswerRow(
            photo,
            sha256,
            label,
            score=self.score,
            latency_ms=number_of(values.get("latency_ms"), "latency_ms"),
            images_per_s=number_of(values.get("images_per_s"), "images_per_s"),
            **self._scores_of(values),
        )

    def _scores_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        if self.flat:
            return {"scores": numbers_of([values.get(name) for name in self.flat], self.flat[0])}
        if self.listed:
            return {"scores": self._from_list(values.get(self.listed))}
        ranked = [(text_of(values.get(name), name), number_of(values.get(score), score)) for name, score in self.ranks]
        scores = {self._place(name): score for name, score in ranked if score is not None}
        if len(scores) == len(self.classes) and None not in scores:
            return {"scores": np.array([scores[place] for place in range(len(self.classes))], np.float32)}
        if self.score == "logit":
            return {}
        best, *others = [number for _, number in ranked] or [None]
        return {"probability": best, "second": others[0] if others else None}

    def _from_list(self, value: Any) -> NDArray[np.float32]:
        if isinstance(value, Mapping):
            if value.keys() != self._places.keys():
                order_of(list(value), self.classes)  # raises
            return numbers_of([value[name] for name in self.classes], self.listed)
        if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
            raise FormatError(f"is {shown(value)}; expected a list of {len(self.classes)} numbers", self.listed)
        scores = numbers_of(value, self.listed)
        if scores.shape != (len(self.classes),):
            raise FormatError(
                f"has {len(scores)} numbers; expected {len(self.classes)}, one for each class", self.listed
            )
        return scores if self.order is None else scores[list(self.order)]

    def _place(self, name: str) -> int | None:
        place = self._places.get(name)
        return self._places.get(name.removeprefix("'")) if place is None else place


def order_of(names: Sequence[str], classes: Sequence[str]) -> tuple[int, ...]:
    """Return the place of each class among `names`. Raises FormatError if these are not the same classes."""
    for name in names:
        if name not in classes:
            raise FormatError(f"has the class {shown(name)}, which the bundle does not have")
    places = {name: place for place, name in enumerate(names)}
    if missing := [name for name in classes if name not in places]:
        raise FormatError(f"has no class {shown(missing[0])}; expected all {len(classes)} of the bundle")
    if len(names) > len(places):
        raise FormatError("names a class twice")
    return tuple(places[name] for name in classes)


def _text_in(values: Mapping[str, Any], column: str) -> str:
    return text_of(values.get(column), column) if column else ""


def text_of(value: Any, column: str) -> str:
    """Return a cell as text; empty for none. Raises FormatError for a list, an object, or a number that is not whole."""
    if value is None:
        return ""
    if isinstance(value, str):
        if len(value) > TEXT_LENGTH:
            raise FormatError(f"has {len(value):,} characters; expected at most {TEXT_LENGTH:,}", column)
        return value
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise FormatError(f"is {shown(value)}; expected text or a whole number", column)
    return str(value)


def number_of(value: Any, column: str) -> float | None:
    """Return a cell as a number; None for none. Raises FormatError for anything else."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | np.number):
        raise FormatError(f"is {shown(value)}; expected a number", column)
    try:
        return float(value)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"is {shown(value)}; expected a number", column) from error


def numbers_of(values: Any, column: str) -> NDArray[np.float32]:
    """Return cells as float32. Raises FormatError for one that is no number."""
    try:
        numbers = np.asarray(values, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError("has a cell that is not a number", column) from error
    if numbers.ndim != 1:
        raise FormatError("is not a flat list of numbers", column)
    return numbers


def shown(value: Any) -> str:
    """Return a value for a message, shortened, on one line."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def listed(names: Sequence[str]) -> str:
    """Return the first of some names for a message."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(shown(name)[1:-1] for name in names[:8]) + more


def _scores(columns: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """Return the fields of Layout on the scores; logits come before probabilities, a list before columns."""
    present = set(columns)
    for score, plural in SCORES.items():
        if plural in present:
            return {"score": score, "listed": plural}
        named = [name.removeprefix(f"{score}:") for name in columns if name.startswith(f"{score}:")]
        if named:
            order_of(named, classes)
            return {"score": score, "flat": tuple(f"{score}:{name}" for name in classes)}
        if f"{score}_0" in present:
            return {"score": score, "flat": _indexed(columns, score, len(classes))}
    for score in SCORES:
        if score in present and "label" in present:
            label = "top_label" if "top_label" in present else "label"
            places = [place for place in range(2, len(classes) + 1) if f"label_{place}" in present]
            pairs = ((f"label_{place}", f"{score}_{place}") for place in places)
            return {"score": score, "ranks": ((label, score), *pairs)}
    return {}


def _indexed(columns: Sequence[str], score: str, count: int) -> tuple[str, ...]:
    pattern = re.compile(rf"{score}_\d+")
    stated = {name for name in columns if pattern.fullmatch(name)}
    expected = tuple(f"{score}_{place}" for place in range(count))
    if stated != set(expected):
        raise FormatError(f"has {len(stated)} columns {score}_<index>; expected {expected[0]} to {expected[-1]}")
    return expected
