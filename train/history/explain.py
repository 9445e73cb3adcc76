"""Explains the epochs of a run in words: overfitting, the gap to validation photos, the gain of each phase, gradients.

All functions are pure. The two phases are assessed separately, because their training losses are not comparable: the head
learns from features of photos without augmentation, the whole network from augmented photos.
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
RISE = 0.05  # relative to the lowest validation loss; smaller changes are noise between epochs
MIN_RISE = 0.005  # in nats; doubling a loss of nearly 0 means nothing
STILL_FALLING = 0.02  # relative fall of the validation loss in the last epoch
LARGE_GAP = 0.05  # training accuracy minus validation accuracy
VANISHING, WEAK = 0.01, 0.1  # gradient norm of the first stage, relative to that of the last stage
EXPLODING = 100.0
GUESSING = 0.95  # share of ln K, the cross-entropy of guessing; a loss above it is not clearly lower
LUCK = 1.5  # multiple of 1/K, the accuracy of guessing; a lower accuracy may be luck


@dataclass(frozen=True, slots=True)
class Finding:
    """One conclusion from the epochs. concern: whether to change the recipe. headline: without a full stop."""

    key: Key
    concern: bool
    headline: str
    text: str


def explain(epochs: Sequence[EpochRecord], *, augmented: bool, classes: int = 0) -> list[Finding]:
    """Return the findings, the verdict on overfitting first; none without epochs.

    augmented: whether the training photos were augmented. classes: their number, 0 when unknown.
    """
    if not epochs:
        return []
    if classes and _guesses(lowest(epochs), classes):
        return [_nothing_learnt(lowest(epochs), classes), check_gradients(epochs)]
    last = [record for record in epochs if record.phase == epochs[-1].phase]
    is_augmented = augmented and last[0].phase == "all"
    return [
        check_overfitting(last),
        compare_splits(last, augmented=is_augmented),
        *compare_phases(epochs),
        check_gradients(epochs),
    ]


def lowest(epochs: Sequence[EpochRecord]) -> EpochRecord:
    """Return the epoch with the lowest validation loss. epochs: at least one."""
    return min(epochs, key=lambda record: record.validation_loss)


def check_overfitting(epochs: Sequence[EpochRecord]) -> Finding:
    """Return whether the validation loss of one phase rises again, and why. epochs: at least one."""
    best, last = lowest(epochs), epochs[-1]
    if len(epochs) == 1:
        text = f"Validation loss {last.validation_loss:.3f}. Overfitting shows only over several epochs."
        return Finding("too-short", False, "one epoch is too short to detect overfitting", text)
    rise = last.validation_loss - best.validation_loss
    if rise > max(RISE * best.validation_loss, MIN_RISE):
        return _explain_rise(best, last)
    before = epochs[-2].validation_loss
    if last is best and before - last.validation_loss > max(STILL_FALLING * before, MIN_RISE):
        text = f"Validation loss fell from {before:.3f} to {last.validation_loss:.3f} in the last epoch. "
        return Finding(
            "still-falling",
            False,
            "no overfitting; still improving at the end",
            f"{text}More epochs may improve it further.",
        )
    text = (
        f"Validation loss is lowest in epoch {best.epoch} ({best.validation_loss:.3f}) and {last.validation_loss:.3f} "
    )
    text += f"in the last epoch, {last.epoch}. More epochs with this recipe will improve it little."
    return Finding("level", False, "no overfitting; the validation loss has levelled off", text)


def compare_splits(epochs: Sequence[EpochRecord], *, augmented: bool) -> Finding:
    """Return how much better the network of one phase is on training photos than on validation photos."""
    best, last = lowest(epochs), epochs[-1]
    text = f"Validation loss minus training loss: {_loss_gap(best):+.3f} in epoch {best.epoch}, the best"
    text += (
        f", and {_loss_gap(last):+.3f} in the last epoch, {last.epoch}. "
        if last is not best
        else ", which is the last. "
    )
    text += f"Accuracy in epoch {best.epoch}: {best.train_accuracy:.1%} on training photos, "
    text += f"{best.validation_accuracy:.1%} on validation photos. {_how_measured(augmented)}"
    if best.train_accuracy - best.validation_accuracy > LARGE_GAP:
        text += " The network is much better on training photos than on new ones: use more photos, augmentation or weight decay."
        return Finding("gap", True, "large gap between training and validation photos", text)
    return Finding("gap", False, "small gap between training and validation photos", text)


def compare_phases(epochs: Sequence[EpochRecord]) -> list[Finding]:
    """Return whether training all layers lowered the loss of the head alone; nothing for a run of one phase."""
    phases = {phase: [record for record in epochs if record.phase == phase] for phase in PHASES}
    if not all(phases.values()):
        return []
    head, whole = lowest(phases["head"]), lowest(phases["all"])
    text = f"Lowest validation loss {head.validation_loss:.3f} ({head.validation_accuracy:.1%} correct) with the head alone, "
    text += f"{whole.validation_loss:.3f} ({whole.validation_accuracy:.1%}) with all layers."
    if whole.validation_loss < head.validation_loss:
        return [Finding("all-layers", False, "training all layers lowered the validation loss", text)]
    text += (
        f" The best weights are from epoch {head.epoch}, of the head alone. A lower lr may preserve pretrained weights."
    )
    return [Finding("all-layers", True, "training all layers did not lower the validation loss", text)]


def check_gradients(epochs: Sequence[EpochRecord]) -> Finding:
    """Return whether gradients reach the first trained stage: its norm relative to that of the last stage."""
    measured = [record for record in epochs if _gradient_ratio(record) is not None]
    ratios = [ratio for record in measured if (ratio := _gradient_ratio(record)) is not None]
    if not ratios:
        text = "No epoch has gradient norms of two stages. Training the head alone has none: its features are computed once."
        return Finding("no-gradients", False, "no gradients to compare", text)
    first, *_, last = (stage for stage in measured[0].gradient_norms if stage != REST)
    ratio = statistics.median(ratios)
    text = f"Gradient norm of {first}, the first trained stage, relative to {last}: {ratio:.2g} "
    text += f"(median of {len(ratios)} epochs; {ratios[0]:.2g} in the first, {ratios[-1]:.2g} in the last). "
    if ratio < VANISHING:
        advice = "Early layers hardly learn, as in deep networks without shortcuts or normalisation: prefer a ResNet."
        return Finding("gradients", True, f"vanishing gradients: hardly any reach {first}", text + advice)
    if ratio > EXPLODING:
        advice = "Gradients grow in the backward pass: use a lower lr, or set clip_norm if it is 0."
        return Finding("gradients", True, f"exploding gradients: the largest are in {first}", text + advice)
    if ratio < WEAK:
        advice = "Early layers learn slowly. That is harmless for pretrained weights; random weights need more epochs."
        return Finding("gradients", False, f"weak gradients in {first}", text + advice)
    return Finding("gradients", False, "gradients reach the first stage", f"{text}They neither vanish nor explode.")


def _guesses(best: EpochRecord, classes: int) -> bool:
    """Return whether a network that gives every photo the same answer would do as well."""
    return best.validation_loss > GUESSING * math.log(classes) and best.validation_accuracy < LUCK / classes


def _nothing_learnt(best: EpochRecord, classes: int) -> Finding:
    text = f"Lowest validation loss {best.validation_loss:.3f}, {best.validation_accuracy:.1%} correct; guessing among {classes} "
    text += f"classes gives {math.log(classes):.3f} and {1 / classes:.1%}. Try pretrained weights, another lr, or more epochs."
    return Finding("guessing", True, "the network has learnt nothing so far: no better than guessing", text)


def _explain_rise(best: EpochRecord, last: EpochRecord) -> Finding:
    """Return the verdict on a validation loss that ends well above its lowest."""
    text = (
        f"Validation loss is lowest in epoch {best.epoch} ({best.validation_loss:.3f}) and {last.validation_loss:.3f} "
    )
    text += f"in the last epoch, {last.epoch}; training loss went from {best.train_loss:.3f} to {last.train_loss:.3f}. "
    if last.train_loss >= best.train_loss:
        text += "Both rose, so the cause is not overfitting but a learning rate that is too high."
        return Finding("unstable", True, f"unstable after epoch {best.epoch}: training loss rose too", text)
    if last.validation_accuracy >= best.validation_accuracy:
        text += (
            f"Accuracy did not fall ({best.validation_accuracy:.1%}, then {last.validation_accuracy:.1%}): the network "
        )
        text += "became more confident in its mistakes, but did not make more of them. "
    else:
        text += f"Validation accuracy fell from {best.validation_accuracy:.1%} to {last.validation_accuracy:.1%}. "
    text += "Use more augmentation, weight decay or photos. Fewer epochs are enough."
    return Finding("overfitting", True, f"overfitting after epoch {best.epoch}", text)


def _how_measured(augmented: bool) -> str:
    """Return how the training numbers were measured, and so how comparable they are with the validation numbers."""
    if augmented:
        conditions = "on augmented photos, which are harder, and during the epoch, while the weights still change"
        return f"Training values are measured {conditions}: the true gap is larger than this one."
    return "Training values are measured during the epoch, while the weights still change; validation values after it."


def _loss_gap(record: EpochRecord) -> float:
    return record.validation_loss - record.train_loss


def _gradient_ratio(record: EpochRecord) -> float | None:
    """Return the norm of the first stage by that of the last; None when fewer than two stages have one."""
    norms = [norm for stage, norm in record.gradient_norms.items() if stage != REST]
    return norms[0] / norms[-1] if len(norms) > 1 and norms[-1] > 0 else None
