"""Mixed precision: the layers that the settings keep in float, and the fewest more that a budget needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vegrt.calibration.graph.placement import Encoding, quantizable_layers
from vegrt.calibration.graph.quantize import ENCODINGS
from vegrt.calibration.graph.work import work_in_8_bits
from vegrt.calibration.settings import VARIANTS, CalibrationSettings
from vegrt.calibration.subject import CalibrationSubject
from vegrt.calibration.tournament.attention import attention_in_float
from vegrt.calibration.tournament.calibrate import Calibration
from vegrt.calibration.tournament.scorer import QuantizationScore, Scorer
from vegrt.calibration.tournament.sensitivity import measure_sensitivity, most_sensitive_first
from vegrt.errors import ModelError

log = logging.getLogger(__name__)


def mix_precision(
    subject: CalibrationSubject, calibration: Calibration, settings: CalibrationSettings, scorer: Scorer
) -> Calibration:
    """Return the calibration with the settings' layers in float, attention if it costs answers, and what a budget needs."""
    named = {encoding: _named_layers(subject, encoding, settings) for encoding in ENCODINGS}
    for encoding in ENCODINGS:
        named[encoding] |= attention_in_float(subject, calibration, encoding, settings, scorer)
    if not settings.has_budget:
        return replace(calibration, float_layers={encoding: tuple(sorted(named[encoding])) for encoding in ENCODINGS})
    scores: dict[Encoding, QuantizationScore] = {}
    float_layers: dict[Encoding, tuple[str, ...]] = {}
    for encoding in ENCODINGS:
        search = _Search(subject, calibration, encoding, settings, scorer)
        float_layers[encoding] = search.run(named[encoding])
        scores[encoding] = search.score(frozenset(float_layers[encoding]))
        _log_result(encoding, float_layers[encoding], scores[encoding], subject)
    return replace(calibration, float_layers=float_layers, scores=scores)


def fewest_float_layers(
    ordered: Sequence[str], holds: Callable[[frozenset[str]], bool], always: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """Return the layers to keep in float, most sensitive first.

    ordered: candidates, most sensitive first. holds: returns whether the budget holds with these layers in float; it has to hold
    with all of them. always: in float in any case, and part of every set that `holds` gets. The number of layers is doubled until
    the budget holds and then bisected; in the end each layer is tried in 8 bits again, least sensitive first.
    """
    if holds(always):
        return ()
    candidates = [name for name in ordered if name not in always]
    enough = 1
    while enough < len(candidates) and not holds(always | set(candidates[:enough])):
        enough *= 2
    low, high = enough // 2, min(enough, len(candidates))  # the budget fails with `low` layers, holds with `high`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(always | set(candidates[:middle])) else (middle, high)
    layers = candidates[:high]
    for name in reversed(candidates[: high - 1]):  # the last one was needed: without it the budget did not hold
        if holds(always | (set(layers) - {name})):
            layers.remove(name)
    return tuple(layers)


@dataclass(frozen=True, slots=True)
class _Search:
    """The search for the float layers of one encoding."""

    subject: CalibrationSubject
    calibration: Calibration
    encoding: Encoding
    settings: CalibrationSettings
    scorer: Scorer

    def run(self, named: frozenset[str]) -> tuple[str, ...]:
        """Return the layers in float, sorted: the named ones, and those that the budget needs."""
        if self._holds(named):
            return tuple(sorted(named))
        rows = measure_sensitivity(self.subject.model, self.calibration, self.encoding, self.scorer)
        return tuple(sorted(named | set(fewest_float_layers(most_sensitive_first(rows), self._holds, named))))

    def score(self, float_layers: frozenset[str]) -> QuantizationScore:
        """Return the score of the winner's ranges with these layers in float, on all held-out photos."""
        return self.scorer.score(self.encoding, self.calibration.winning_ranges(self.encoding), float_layers)

    def _holds(self, float_layers: frozenset[str]) -> bool:
        score = self.score(float_layers)
        max_flips, max_drop = self.settings.max_flips, self.settings.max_drop
        return (max_flips is None or score.flips <= max_flips) and (
            max_drop is None or score.drop_points <= max_drop + 1e-9
        )


def _named_layers(subject: CalibrationSubject, encoding: Encoding, settings: CalibrationSettings) -> frozenset[str]:
    """Return the layers that the settings keep in float. Raises ModelError for one that the graph does not have."""
    named, layers = frozenset(settings.float_layers.get(encoding, ())), quantizable_layers(subject.model, encoding)
    if unknown := sorted(named - set(layers)):
        raise ModelError(
            f"float layers of {VARIANTS[encoding]}: the model has no {', '.join(unknown)}; it has {', '.join(layers)}"
        )
    return named


def _log_result(
    encoding: Encoding, float_layers: Sequence[str], score: QuantizationScore, subject: CalibrationSubject
) -> None:
    names = f"{', '.join(float_layers)} in float" if float_layers else "no layer in float"
    work = work_in_8_bits(subject.model, {encoding: float_layers})[encoding]
    log.info(
        "%s: %s; drop %.2f points and %d flips on %d photos, %s",
        *(VARIANTS[encoding], names, score.drop_points, score.flips, len(subject.held_out), work),
    )
