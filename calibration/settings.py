"""The settings of a calibration, and the small file that names the layers to keep in float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vegrt.calibration.graph.placement import Encoding
from vegrt.errors import DataError, FormatError, VegrtError
from vegrt.schema import read_json

PERCENTILE = 99.99
MIN_OBSERVED = 16
VARIANTS: dict[Encoding, str] = {"signed": "int8", "unsigned": "int8-cpu"}
_FORMAT = "vegrt-float-layers"

Attention = Literal["auto", "float", "int8"]
FloatLayers = Mapping[Encoding, Sequence[str]]


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """How to calibrate.

    photos: the most photos to observe; beyond some hundreds ranges hardly change. percentile: of the percentile method.
    max_drop: the most points of accuracy, max_flips: the most changed answers that int8 may cost on the held-out photos; layers
    stay in float until both hold. float_layers: stay in float in any case. float_type: of all that is not 8-bit in int8.onnx.
    racing: stop clearly worse methods of the tournament early.
    attention: the type of attention's products of two activations; auto lets the held-out photos decide.
    """

    photos: int = 512
    percentile: float = PERCENTILE
    max_drop: float | None = None
    max_flips: int | None = None
    float_layers: FloatLayers = field(default_factory=dict)
    float_type: Literal["float16", "float32"] = "float16"
    racing: bool = True
    attention: Attention = "auto"

    def __post_init__(self) -> None:
        if not 50 < self.percentile <= 100:
            raise VegrtError(
                f"percentile {self.percentile:g}: expected more than 50 and at most 100, such as {PERCENTILE}"
            )
        if self.photos < MIN_OBSERVED:
            raise VegrtError(f"--photos {self.photos}: expected at least {MIN_OBSERVED}")
        if min(self.max_drop or 0, self.max_flips or 0) < 0:
            raise VegrtError("--max-drop and --max-flips: expected a budget of 0 or more")

    @property
    def has_budget(self) -> bool:
        """Return whether int8 may lose only so much."""
        return self.max_drop is not None or self.max_flips is not None


def read_float_layers(path: Path) -> FloatLayers:
    """Return the layers that a float-layers file names. Raises DataError when it is not one."""
    try:
        content = read_json(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); `vegrt calibrate` writes such a file") from error
    except FormatError as error:
        raise DataError(f"{path}: {error}; expected a file as `vegrt calibrate` writes it") from error
    variants = tuple(VARIANTS.values())
    if not isinstance(content, dict) or content.get("format") != _FORMAT or set(content) - {"format", *variants}:
        raise DataError(
            f'{path}: expected an object with "format": "{_FORMAT}" and lists of layers: {", ".join(variants)}'
        )
    layers = {encoding: content.get(variant, []) for encoding, variant in VARIANTS.items()}
    if not all(_is_list_of_names(names) for names in layers.values()):
        raise DataError(f"{path}: expected a list of layer names for each of {', '.join(variants)}")
    return layers


def float_layers_json(layers: FloatLayers) -> dict[str, object]:
    """Return the content of a float-layers file: one list for each int8 variant."""
    return {"format": _FORMAT} | {variant: list(layers.get(encoding, ())) for encoding, variant in VARIANTS.items()}


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
