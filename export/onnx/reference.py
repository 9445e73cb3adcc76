"""The check of a reference: one that is no better than chance cannot show whether a candidate is equal to it.

The validation photos have labels, so a wrong class order and swapped colours are found before calibration. Random weights and a
wrong mean and std cannot be told apart: both cause a warning here, and get no verdict (see vegrt.evaluate.diagnose).
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import ModelError
from vegrt.evaluate.diagnose import (
    chance_words,
    has_learned,
    no_better_than_chance,
    permuted_classes,
    try_explain,
)
from vegrt.evaluate.figures import LabelledAnswers
from vegrt.evaluate.wording import moves_words
from vegrt.export.onnx.parity import Evidence
from vegrt.infer.runtimes.runner import Runner

log = logging.getLogger(__name__)

_POSSIBLE_CAUSES = "check the order of the classes, mean and std, and whether the photos resemble those of the training"


def check_reference(evidence: Evidence, reference: Runner, *, untrained: bool = False) -> NDArray[np.float32]:
    """Return the (N, K) logits of the reference for the photos of the evidence.

    Raises ModelError when one is not finite, or when the answers are no better than chance and a cause is found: the network has
    learned, but its preprocessing or class order is wrong. Chance without a cause is a warning. untrained: expect chance.
    """
    logits = evidence.answers(reference)
    subject = evidence.bundle.path
    if bad_rows := np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist():
        raise ModelError(
            f"{subject}: the network answers NaN or infinity to {len(bad_rows)} of {len(logits)} photos, such as "
            f"{evidence.photos[bad_rows[0]].path}; its weights or its mean and std are damaged; nothing was written"
        )
    answers = LabelledAnswers.of(logits, np.array([photo.label for photo in evidence.photos]))
    if not no_better_than_chance(answers.confusion()):
        return logits
    if untrained:
        log.warning("%s: %s; exported as an untrained network", subject, chance_words(answers))
        return logits
    if cause := try_explain(lambda: _cause(evidence, reference, answers)):
        raise ModelError(f"{subject}: {chance_words(answers)}; {cause}; nothing was written")
    advice = _constant_answer(evidence, answers) or _POSSIBLE_CAUSES
    log.warning("%s: %s; %s; for random weights on purpose: --untrained", subject, chance_words(answers), advice)
    log.warning("%s: vegrt evaluate will refuse to use it as a reference", subject)
    return logits


def _constant_answer(evidence: Evidence, answers: LabelledAnswers) -> str:
    labels = set(answers.top1.tolist())
    name = evidence.bundle.manifest.classes[labels.pop()] if len(labels) == 1 else ""
    return f"it answers {name} to every photo; check that mean and std are those of pixels in [0, 1]" if name else ""


def _cause(evidence: Evidence, reference: Runner, answers: LabelledAnswers) -> str:
    """Return the changes that make the network better than chance, in words; nothing when no known change does."""
    classes, confusion = evidence.bundle.manifest.classes, answers.confusion()
    causes = []
    swapped = LabelledAnswers.of(evidence.answers(_SwappedColours(reference)), answers.labels)
    if has_learned(swapped.confusion()):
        causes.append(
            f"{swapped.right.mean():.1%} are right with red and blue swapped: it expects BGR, export it for RGB"
        )
    moves = permuted_classes(confusion)
    if moves and has_learned(confusion[:, [moves.get(label, label) for label in range(len(classes))]]):
        causes.append(f"the classes are in another order: {moves_words(moves, classes)}")
    return ", or ".join(causes)


class _SwappedColours:
    """A runner that gets each image with red and blue swapped."""

    def __init__(self, runner: Runner) -> None:
        self.runtime, self.device, self._runner = runner.runtime, runner.device, runner

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._runner.logits(np.ascontiguousarray(images[..., ::-1]))
