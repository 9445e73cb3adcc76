"""The subject of a calibration: a float32 graph, the photos that are observed and those that are held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.settings import CalibrationSettings
from vegrt.dataset.photos import content_hash
from vegrt.photo.contract import Contract


@dataclass(frozen=True, slots=True)
class CalibrationSubject:
    """A graph to calibrate, and on which photos.

    model: the float32 graph; copied before it is changed. hashes: content hashes of the observed and of the held-out photos.
    held_out: score the quantized models; the methods and single layers only on the first of them.
    """

    model: ir.Model
    contract: Contract
    hashes: Mapping[str, Sequence[str]]
    observed: PhotoSet
    held_out: PhotoSet


def prepare_subject(
    fp32: ir.Model, photos: PhotoSet, contract: Contract, settings: CalibrationSettings
) -> CalibrationSubject:
    """Return the subject of a graph and the photos that may calibrate it."""
    observed, held_out = split_photos(photos, settings)
    return CalibrationSubject(
        model=fp32,
        contract=contract,
        hashes={
            "observed": sorted(content_hash(photo.path) for photo in observed.photos),
            "held out": sorted(content_hash(photo.path) for photo in held_out.photos),
        },
        observed=observed,
        held_out=held_out,
    )


def split_photos(photos: PhotoSet, settings: CalibrationSettings) -> tuple[PhotoSet, PhotoSet]:
    """Return the photos to observe, every second one up to the settings' number, and those held out: the other half."""
    observed = PhotoSet(photos.photos[0::2][: settings.photos], photos.pixels)
    return observed, PhotoSet(photos.photos[1::2], photos.pixels)
