"""What the epochs of a run mean, in words: overfitting, the gap to new photos, what each phase brought, gradients.

Pure functions of EpochRecord. The phases are judged apart: the head learns from features of plain photos, the whole
network from augmented ones, so their training losses do not compare.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vegrt.train.history.records import PHASES, REST, EpochRecord

Key = Literal[
    "guessing",
    "overfitting",
    "unstable",
    "level",
    "still-falling",
    "too-short",
    "gap",
    "all-layers",
    "gradients",
    "no-gradients",
]
RISE = 0.05  # of the lowest validation loss: smaller changes are noise between epochs
RISE_LEAST = 0.005  # nats; where the loss is nearly 0, doubling it means nothing
STILL_FALLING = 0.02  # fall of the validation loss in the last epoch, relative
LARGE_GAP = 0.05  # of accuracy between training and validation photos
VANISHING, WEAK = 0.01, 0.1  # gradient norm of the first stage, relative to the last one's
EXPLODING = 100.0
GUESSING = 0.95  # of the cross-entropy of guessing, ln K: not clearly below it
LUCK = 1.5  # times the accuracy of guessing, 1/K


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the epochs show. concern: whether it calls for another recipe. headline: has no full stop."""

    key: Key
    concern: bool
    headline: str
    text: str


def explain(epochs: Sequence[EpochRecord], *, augmented: bool, classes: int = 0) -> list[Finding]:
    """Return the findings, the verdict on the fit first; none without epochs.

    augmented: whether the training photos were. classes: how many, 0 where that is not known.
    """
    if not epochs:
        return []
    if classes and _guesses(lowest(epochs), classes):
        return [_nothing_learnt(lowest(epochs), classes), gradients(epochs)]
    last = [record for record in epochs if record.phase == epochs[-1].phase]
    found = [fit(last), gap(last, augmented=augmented and last[0].phase == "all")]
    return [*found, *both_phases(epochs), gradients(epochs)]


def lowest(epochs: Sequence[EpochRecord]) -> EpochRecord:
    """Return the epoch of the lowest validation loss, of at least one."""
    return min(epochs, key=lambda record: record.validation_loss)


def fit(epochs: Sequence[EpochRecord]) -> Finding:
    """Return the verdict on the validation loss of one phase, of at least one epoch: does it turn up, and why."""
    best, last = lowest(epochs), epochs[-1]
    if len(epochs) == 1:
        text = f"Validation loss {last.validation_loss:.3f}. A turn of the loss shows only over several epochs."
        return Finding("too-short", False, "one epoch: too short to tell overfitting", text)
    rise = last.validation_loss - best.validation_loss
    if rise > max(RISE * best.validation_loss, RISE_LEAST):
        return _turned(best, last)
    before = epochs[-2].validation_loss
    if last is best and before - last.validation_loss > max(STILL_FALLING * before, RISE_LEAST):
        text = f"Validation loss fell from {before:.3f} to {last.validation_loss:.3f} in the last epoch. "
        return Finding(
            "still-falling", False, "no overfitting; still improving at the end", f"{text}More epochs may bring more."
        )
    text = (
        f"Validation loss is lowest in epoch {best.epoch} ({best.validation_loss:.3f}) and {last.validation_loss:.3f} "
    )
    text += f"in the last one, {last.epoch}. More epochs of this recipe will bring little."
    return Finding("level", False, "no overfitting; validation loss has levelled off", text)


def gap(epochs: Sequence[EpochRecord], *, augmented: bool) -> Finding:
    """Return how much better the network is on training photos than on validation photos, in one phase."""
    best, last = lowest(epochs), epochs[-1]
    text = f"Validation loss minus training loss: {_loss_gap(best):+.3f} in epoch {best.epoch}, the best"
    text += f", and {_loss_gap(last):+.3f} in the last, {last.epoch}. " if last is not best else ", which is the last. "
    text += f"Accuracy in epoch {best.epoch}: {best.train_accuracy:.1%} on training photos, "
    text += f"{best.validation_accuracy:.1%} on validation photos. {_measured(augmented)}"
    if best.train_accuracy - best.validation_accuracy > LARGE_GAP:
        text += " It knows its training photos much better than new ones: more photos, augmentation or weight decay."
        return Finding("gap", True, "large gap between training and validation photos", text)
    return Finding("gap", False, "small gap between training and validation photos", text)


def both_phases(epochs: Sequence[EpochRecord]) -> list[Finding]:
    """Return whether training all layers was worth it after the head alone; nothing for a run of one phase."""
    phases = {phase: [record for record in epochs if record.phase == phase] for phase in PHASES}
    if not all(phases.values()):
        return []
    head, whole = lowest(phases["head"]), lowest(phases["all"])
    text = f"Lowest validation loss {head.validation_loss:.3f} ({head.validation_accuracy:.1%} right) with the head alone, "
    text += f"{whole.validation_loss:.3f} ({whole.validation_accuracy:.1%}) with all layers."
    if whole.validation_loss < head.validation_loss:
        return [Finding("all-layers", False, "training all layers paid", text)]
    text += f" Epoch {head.epoch}, of the head alone, was kept: a lower lr may spare the pretrained weights."
    return [Finding("all-layers", True, "training all layers did not pay", text)]


def gradients(epochs: Sequence[EpochRecord]) -> Finding:
    """Return whether gradients reach the first trained stage: its norm relative to the last stage's."""
    seen = [record for record in epochs if _gradient_ratio(record) is not None]
    ratios = [ratio for record in seen if (ratio := _gradient_ratio(record)) is not None]
    if not ratios:
        text = "No epoch has gradient norms of two stages: the head alone learns from features that are computed once."
        return Finding("no-gradients", False, "no gradients to compare", text)
    first, *_, last = (stage for stage in seen[0].gradient_norms if stage != REST)
    ratio = statistics.median(ratios)
    text = f"Gradient norm of {first}, the first stage that learns, relative to {last}: {ratio:.2g} "
    text += f"(median of {len(ratios)} epochs; {ratios[0]:.2g} in the first, {ratios[-1]:.2g} in the last). "
    if ratio < VANISHING:
        advice = "Early layers hardly learn, as in deep chains without shortcuts or normalisation: prefer a ResNet."
        return Finding("gradients", True, f"vanishing gradients: {first} gets hardly any", text + advice)
    if ratio > EXPLODING:
        advice = "Gradients grow on their way back: lower lr, or clip_norm where it is 0."
        return Finding("gradients", True, f"exploding gradients: {first} gets the most", text + advice)
    if ratio < WEAK:
        advice = "Early layers learn slowly; after pretraining that is harmless, from random weights it costs epochs."
        return Finding("gradients", False, f"weak gradients in {first}", text + advice)
    return Finding("gradients", False, "gradients reach the first stage", f"{text}Nothing vanishes on the way back.")


def _guesses(best: EpochRecord, classes: int) -> bool:
    """Return whether a network that answers the same to every photo would do as well."""
    return best.validation_loss > GUESSING * math.log(classes) and best.validation_accuracy < LUCK / classes


def _nothing_learnt(best: EpochRecord, classes: int) -> Finding:
    text = f"Lowest validation loss {best.validation_loss:.3f}, {best.validation_accuracy:.1%} right; guessing among {classes} "
    text += f"classes brings {math.log(classes):.3f} and {1 / classes:.1%}. Try pretrained weights, another lr, or more epochs."
    return Finding("guessing", True, "nothing learnt so far: no better than guessing", text)


def _turned(best: EpochRecord, last: EpochRecord) -> Finding:
    """Return the verdict on a validation loss that ends well above its lowest."""
    text = (
        f"Validation loss is lowest in epoch {best.epoch} ({best.validation_loss:.3f}) and {last.validation_loss:.3f} "
    )
    text += (
        f"in the last one, {last.epoch}, while training loss went from {best.train_loss:.3f} to {last.train_loss:.3f}. "
    )
    if last.train_loss >= best.train_loss:
        text += "Both rose, so this is not overfitting: the learning rate is too high."
        return Finding("unstable", True, f"unstable after epoch {best.epoch}: training loss rose too", text)
    if last.validation_accuracy >= best.validation_accuracy:
        text += f"Accuracy did not suffer ({best.validation_accuracy:.1%}, then {last.validation_accuracy:.1%}): the network "
        text += "grew surer of its mistakes, not wrong more often. "
    else:
        text += f"Validation accuracy fell from {best.validation_accuracy:.1%} to {last.validation_accuracy:.1%}. "
    text += "More augmentation, weight decay or photos help; fewer epochs cost nothing."
    return Finding("overfitting", True, f"overfitting after epoch {best.epoch}", text)


def _measured(augmented: bool) -> str:
    """Return how training's numbers were measured, which decides how far they compare with validation's."""
    if augmented:
        how = "on augmented photos, which are harder, and during the epoch, while the weights still change"
        return f"Training is measured {how}: the true gap is larger than this one."
    return "Training is measured during the epoch, while the weights still change, validation after it."


def _loss_gap(record: EpochRecord) -> float:
    return record.validation_loss - record.train_loss


def _gradient_ratio(record: EpochRecord) -> float | None:
    """Return the first stage's norm by the last one's; None where fewer than two stages have one."""
    norms = [norm for stage, norm in record.gradient_norms.items() if stage != REST]
    return norms[0] / norms[-1] if len(norms) > 1 and norms[-1] > 0 else None
