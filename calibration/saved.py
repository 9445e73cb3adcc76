"""calibration.json: a whole calibration with its key, so that an equal one need not be made again."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vegrt.calibration.calibrate import ENCODINGS, Calibration, Contest
from vegrt.calibration.encode import Range
from vegrt.calibration.judge import Score
from vegrt.calibration.key import differences
from vegrt.calibration.outliers import Outlier
from vegrt.calibration.ranges import METHODS
from vegrt.errors import BundleError

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
        found = json.loads(path.read_text(encoding="utf-8"))
        if other := differences(found["key"], key):
            log.warning("%s: not used, it was made with %s; calibrating again", path, "; ".join(other))
            return None
        return replace(_from_json(found), float_layers={})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: not used, it cannot be read as a calibration (%s); calibrating again", path, error)
        return None


def read_calibration(path: Path) -> Calibration:
    """Return the calibration of the file at `path`, with its layers in float, whatever its key. Raises BundleError."""
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path}: no calibration ({error}); make one: vegrt calibrate {path.parent} --data DATA"
        ) from error


def _from_json(found: Mapping[str, Any]) -> Calibration:
    tensors = found["tensors"]
    return Calibration(
        extrema={name: Range(one["low"], one["high"]) for name, one in tensors.items()},
        ranges={
            (encoding, method): {name: Range(*one[encoding][method]) for name, one in tensors.items()}
            for encoding in ENCODINGS
            for method in METHODS
        },
        contests=[_contest(entry) for entry in found["tournament"]],
        winners={encoding: found["winners"][encoding] for encoding in ENCODINGS},
        outliers=[Outlier(**one | {"layers": tuple(one["layers"])}) for one in found["outliers"]],
        float_layers={encoding: tuple(names) for encoding, names in found["float_layers"].items()},
    )


def _contest(entry: Mapping[str, Any]) -> Contest:
    figures = {name: value for name, value in entry.items() if name not in ("method", "encoding")}
    return Contest(entry["method"], entry["encoding"], Score(**figures))
