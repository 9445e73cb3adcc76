"""Less space for the figures of many classes: at 1,000 classes they would be most of a result file."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from vegrt.results.evaluation import Figures

T = TypeVar("T")

_DIGITS = 6


def shortened(figures: Figures) -> Figures:
    """Return the figures with six significant digits in those of single classes."""
    paired = replace(figures.paired, classes=_rounded(figures.paired.classes))
    return replace(figures, classes=_rounded(figures.classes), paired=paired)


def without_classes(figures: Figures) -> Figures:
    """Return the figures without those of single classes."""
    paired = replace(figures.paired, classes=None)
    return replace(figures, classes=None, confusion=None, confusion_cells=None, paired=paired)


def _rounded(value: T) -> T:
    """Return a value with all numbers inside it rounded to six significant digits."""
    return _rounded_value(value)  # type: ignore[no-any-return]


def _rounded_value(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, tuple):
        return tuple(map(_rounded_value, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _rounded_value(getattr(value, field.name)) for field in fields(value)})
    return value
