"""calibration.json: a whole calibration with its key, so that an equal one need not be made again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from vegrt.calibration.calibrate import ENCODINGS, Calibration, MethodScore
from vegrt.calibration.encode import Range
from vegrt.calibration.judge import QuantizationScore
from vegrt.calibration.key import differences
from vegrt.calibration.outliers import Outlier
from vegrt.calibration.place import Encoding
from vegrt.calibration.ranges import METHODS, Method
from vegrt.errors import BundleError, FormatError
from vegrt.schema import Count, build, read_json

log = logging.getLogger(__name__)

FILE = "calibration.json"


def to_json(calibration: Calibration, key: Mapping[str, Any]) -> dict[str, Any]:
    """Return a calibration and its key as JSON values."""
    tensors: dict[str, Any] = {name: {"low": one.low, "high": one.high} for name, one in calibration.extrema.items()}
    for (encoding, method), ranges in calibration.ranges.items():
        for name, span in ranges.items():
            tensors[name].setdefault(encoding, {})[method] = [span.low, span.high]
    return {
        "key": dict(key),
        "winners": dict(calibration.winners),
        "float_layers": {encoding: list(names) for encoding, names in calibration.float_layers.items()},
        "tournament": [one.to_dict() for one in calibration.contests],
        "outliers": [asdict(one) for one in calibration.outliers],
        "tensors": tensors,
    }


def load_calibration(path: Path, key: Mapping[str, Any]) -> Calibration | None:
    """Return the calibration of the file at `path`, with nothing in float, if it was made with `key`.

    Otherwise None; which part of the key differs is logged as a warning.
    """
    if not path.is_file():
        return None
    try:
        found = build(_File, read_json(path))
    except (OSError, FormatError) as error:
        log.warning("%s: not used, it cannot be read as a calibration (%s); calibrating again", path, error)
        return None
    if other := differences(found.key, key):
        log.warning("%s: not used, it was made with %s; calibrating again", path, "; ".join(other))
        return None
    return replace(found.calibration(), float_layers={})


def read_calibration(path: Path) -> Calibration:
    """Return the calibration of the file at `path`, with its layers in float, whatever its key. Raises BundleError."""
    try:
        return build(_File, read_json(path)).calibration()
    except (OSError, FormatError) as error:
        raise BundleError(
            f"{path}: no calibration ({error}); make one: vegrt calibrate {path.parent} --data DATA"
        ) from error


@dataclass(frozen=True, slots=True)
class _Tensor:
    """The extrema of a tensor, and its ranges by encoding and method."""

    low: float
    high: float
    signed: dict[str, tuple[float, float]]
    unsigned: dict[str, tuple[float, float]]

    def __post_init__(self) -> None:
        for encoding in ENCODINGS:
            ranges: dict[str, tuple[float, float]] = getattr(self, encoding)
            for method in METHODS:
                if method not in ranges:
                    raise FormatError("is missing", f"{encoding}.{method}")
                low, high = ranges[method]
                if not low <= 0 <= high:
                    raise FormatError(f"is {low:g} to {high:g}; expected a range that holds 0", f"{encoding}.{method}")


@dataclass(frozen=True, slots=True)
class _Contest(QuantizationScore):
    """A method's scores."""

    method: Method
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class _Winners:
    signed: Method
    unsigned: Method


@dataclass(frozen=True, slots=True)
class _PhotoCount:
    count: Count


@dataclass(frozen=True, slots=True)
class _Key:
    photos: dict[str, _PhotoCount] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _File:
    """The schema of calibration.json."""

    key: dict[str, Any]
    winners: _Winners
    float_layers: dict[str, tuple[str, ...]]
    tournament: tuple[_Contest, ...]
    outliers: tuple[Outlier, ...]
    tensors: dict[str, _Tensor]

    def __post_init__(self) -> None:
        build(_Key, self.key)

    def calibration(self) -> Calibration:
        """Return it as what it describes."""
        names = {one.name for one in fields(QuantizationScore)}
        return Calibration(
            extrema={name: Range(one.low, one.high) for name, one in self.tensors.items()},
            ranges={
                (encoding, method): {name: Range(*getattr(one, encoding)[method]) for name, one in self.tensors.items()}
                for encoding in ENCODINGS
                for method in METHODS
            },
            contests=[
                MethodScore(one.method, one.encoding, QuantizationScore(**{name: getattr(one, name) for name in names}))
                for one in self.tournament
            ],
            winners={encoding: getattr(self.winners, encoding) for encoding in ENCODINGS},
            outliers=self.outliers,
            float_layers={one: self.float_layers[one] for one in ENCODINGS if one in self.float_layers},
        )
