"""Attention in 8 bits: whether the products of two activations cost answers on the held-out photos (docs/decisions/0033)."""

from __future__ import annotations

import logging

from vegrt.calibration.graph.placement import Encoding, attention_products
from vegrt.calibration.settings import VARIANTS, CalibrationSettings
from vegrt.calibration.subject import CalibrationSubject
from vegrt.calibration.tournament.calibrate import Calibration
from vegrt.calibration.tournament.race import TOURNAMENT_PHOTOS
from vegrt.calibration.tournament.scorer import Scorer

log = logging.getLogger(__name__)

TOLERANCE = 0.005  # agreement and accuracy may fall by one photo of 200, which is noise


def attention_in_float(
    subject: CalibrationSubject,
    calibration: Calibration,
    encoding: Encoding,
    settings: CalibrationSettings,
    scorer: Scorer,
) -> frozenset[str]:
    """Return the names of attention's products that stay in float: all of them, or none.

    With the setting `auto` they stay in float if they cost agreement with the float model or accuracy, more than TOLERANCE, on
    the photos of the tournament, with the winner's ranges.
    """
    products = frozenset(str(node.name) for node in attention_products(subject.model))
    if not products or settings.attention == "int8":
        return frozenset()
    if settings.attention == "float":
        return products
    ranges = calibration.winning_ranges(encoding)
    named = frozenset(settings.float_layers.get(encoding, ()))
    in_8_bits, in_float = (
        scorer.score(encoding, ranges, layers, photos=TOURNAMENT_PHOTOS) for layers in (named, named | products)
    )
    losses = in_float.agreement - in_8_bits.agreement, in_float.accuracy - in_8_bits.accuracy
    stays = max(losses) > TOLERANCE
    log.info(
        "%s: attention in %s; in 8 bits it changes agreement with fp32 by %+.2f and accuracy by %+.2f points",
        *(VARIANTS[encoding], "float" if stays else "8 bits", *(-100 * loss for loss in losses)),
    )
    return products if stays else frozenset()
