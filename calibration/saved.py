"""calibration.json: a whole calibration with its key, so that an equal calibration is not repeated."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from vegrt.bundle.change import Staging
from vegrt.calibration.graph.encode import Range
from vegrt.calibration.graph.placement import Encoding
from vegrt.calibration.graph.quantize import ENCODINGS
from vegrt.calibration.key import key_differences
from vegrt.calibration.ranges.methods import METHODS, Method
from vegrt.calibration.ranges.outliers import Outlier
from vegrt.calibration.settings import float_layers_json
from vegrt.calibration.tournament.calibrate import Calibration
from vegrt.calibration.tournament.race import MethodScore, Stop
from vegrt.calibration.tournament.scorer import QuantizationScore
from vegrt.errors import BundleError, FormatError
from vegrt.files.atomic import write_json
from vegrt.schema import Count, build, read_json

log = logging.getLogger(__name__)

FILE = "calibration.json"
FLOAT_LAYERS_FILE = "float-layers.json"


def add_calibration(staging: Staging, calibration: Calibration, key: Mapping[str, Any]) -> None:
    """Stage calibration.json and the list of layers in float."""
    write_json(staging.file(FILE), to_json(calibration, key))
    staging.add(FILE, "calibration")
    write_json(staging.file(FLOAT_LAYERS_FILE), float_layers_json(calibration.float_layers))
    staging.add(FLOAT_LAYERS_FILE, "calibration", "float-layers")


def to_json(calibration: Calibration, key: Mapping[str, Any]) -> dict[str, Any]:
    """Return a calibration and its key as JSON values."""
    tensors: dict[str, Any] = {name: {"low": span.low, "high": span.high} for name, span in calibration.extrema.items()}
    for (encoding, method), ranges in calibration.ranges.items():
        for name, span in ranges.items():
            tensors[name].setdefault(encoding, {})[method] = [span.low, span.high]
    return {
        "key": dict(key),
        "winners": dict(calibration.winners),
        "float_layers": {encoding: list(names) for encoding, names in calibration.float_layers.items()},
        "tournament": [row.to_dict() for row in calibration.tournament],
        "outliers": [asdict(outlier) for outlier in calibration.outliers],
        "tensors": tensors,
    }


def load_calibration(path: Path, key: Mapping[str, Any], tensors: Collection[str]) -> Calibration | None:
    """Return the calibration in the file at `path`, without layers in float, if its key is `key` and it has all `tensors`.

    Otherwise None; the parts of the key that differ are logged as a warning.
    """
    if not path.is_file():
        return None
    try:
        file = build(_File, read_json(path))
    except (OSError, FormatError) as error:
        log.warning("%s: not used, it cannot be read as a calibration (%s); calibrating again", path, error)
        return None
    if differing := key_differences(file.key, key):
        log.warning("%s: not used, it was made with %s; calibrating again", path, "; ".join(differing))
        return None
    if missing := set(tensors) - file.tensors.keys():
        log.warning("%s: not used, it lacks %d tensors that are quantized now; calibrating again", path, len(missing))
        return None
    return replace(file.calibration(), float_layers={})


def read_calibration(path: Path) -> Calibration:
    """Return the calibration in the file at `path`, with its layers in float, whatever its key. Raises BundleError."""
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
class _TournamentRow(QuantizationScore):
    """A method's scores."""

    method: Method
    encoding: Encoding
    stopped: Stop | None = None


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
    tournament: tuple[_TournamentRow, ...]
    outliers: tuple[Outlier, ...]
    tensors: dict[str, _Tensor]

    def __post_init__(self) -> None:
        build(_Key, self.key)

    def calibration(self) -> Calibration:
        """Return the calibration that the file describes."""
        figures = [figure.name for figure in fields(QuantizationScore)]
        return Calibration(
            extrema={name: Range(tensor.low, tensor.high) for name, tensor in self.tensors.items()},
            ranges={
                (encoding, method): {
                    name: Range(*getattr(tensor, encoding)[method]) for name, tensor in self.tensors.items()
                }
                for encoding in ENCODINGS
                for method in METHODS
            },
            tournament=[
                MethodScore(
                    row.method,
                    row.encoding,
                    QuantizationScore(**{name: getattr(row, name) for name in figures}),
                    row.stopped,
                )
                for row in self.tournament
            ],
            winners={encoding: getattr(self.winners, encoding) for encoding in ENCODINGS},
            outliers=self.outliers,
            float_layers={name: self.float_layers[name] for name in ENCODINGS if name in self.float_layers},
        )
