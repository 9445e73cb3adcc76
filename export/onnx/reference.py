"""Whether a reference is worth comparing with: one that answers by chance makes every candidate look equal to it.

The validation photos have labels, so a wrong class order and swapped colours show before anything is calibrated. Random weights
and a wrong mean and std cannot be told apart: they are warned of here, and get no verdict (see vegrt.evaluate.diagnose).
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import ModelError
from vegrt.evaluate.diagnose import (
    chance_words,
    explained,
    has_learned,
    no_better_than_chance,
    permuted_classes,
)
from vegrt.evaluate.figures import Answers
from vegrt.export.onnx.parity import Evidence
from vegrt.infer.runtimes.runner import Runner
from vegrt.results.wording import moves_words

log = logging.getLogger(__name__)

_UNKNOWN = (
    "are classes in the order of the scores, mean and std those of the training, the photos such as it learned from?"
)


def check_reference(evidence: Evidence, reference: Runner, *, untrained: bool = False) -> NDArray[np.float32]:
    """Return the (N, K) logits of the reference for the photos of the evidence.

    Raises ModelError when one is not finite, or when the answers are no better than chance and it shows why: then the network has
    learned, and is prepared or labelled wrong. Chance without a cause is a warning. untrained: it is said to be.
    """
    logits = evidence.answers(reference)
    subject = evidence.bundle.path
    if bad := np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist():
        raise ModelError(
            f"{subject}: the network answers NaN or infinity to {len(bad)} of {len(logits)} photos, such as "
            f"{evidence.photos[bad[0]].path}; its weights or its mean and std are damaged; nothing was written"
        )
    answers = Answers.of(logits, np.array([photo.label for photo in evidence.photos]))
    if not no_better_than_chance(answers.confusion()):
        return logits
    if untrained:
        log.warning("%s: %s; exported as an untrained network", subject, chance_words(answers))
        return logits
    if cause := explained(lambda: _cause(evidence, reference, answers)):
        raise ModelError(f"{subject}: {chance_words(answers)}; {cause}; nothing was written")
    doubt = _constant(evidence, answers) or _UNKNOWN
    log.warning("%s: %s: %s Random weights on purpose: --untrained", subject, chance_words(answers), doubt)
    log.warning("%s: vegrt evaluate will refuse to judge by it", subject)
    return logits


def _constant(evidence: Evidence, answers: Answers) -> str:
    said = set(answers.top1.tolist())
    name = evidence.bundle.manifest.classes[said.pop()] if len(said) == 1 else ""
    return f"it answers {name} to every photo; are mean and std those of pixels in [0, 1]?" if name else ""


def _cause(evidence: Evidence, reference: Runner, answers: Answers) -> str:
    """Return, in words, what makes the network better than chance; nothing when nothing known does."""
    classes, confusion = evidence.bundle.manifest.classes, answers.confusion()
    causes = []
    cured = Answers.of(evidence.answers(_Swapped(reference)), answers.labels)
    if has_learned(cured.confusion()):
        causes.append(f"{cured.right.mean():.1%} are right with red and blue swapped: it wants BGR, export it for RGB")
    moved = permuted_classes(confusion)
    if moved and has_learned(confusion[:, [moved.get(label, label) for label in range(len(classes))]]):
        causes.append(f"the classes are in another order: {moves_words(moved, classes)}")
    return ", or ".join(causes)


class _Swapped:
    """A runner that sees red and blue swapped."""

    def __init__(self, runner: Runner) -> None:
        self.runtime, self.device, self._runner = runner.runtime, runner.device, runner

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._runner.logits(np.ascontiguousarray(images[..., ::-1]))
