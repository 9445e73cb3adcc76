"""Whether a reference is worth comparing with: one that answers by chance makes every candidate look equal to it.

The validation photos have labels, so a wrong class order, mean and std of other units, swapped colours and random weights show
before anything is calibrated.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import ModelError
from vegrt.export.gate import Evidence
from vegrt.infer.diagnose import chance_words, describe_moves, explained, no_better_than_chance, permuted_classes
from vegrt.infer.figures import Answers
from vegrt.infer.runner import Runner

log = logging.getLogger(__name__)

_UNKNOWN = (
    "are classes in the order of the scores, mean and std those of the training, the photos such as it learned from?"
)


def check_reference(evidence: Evidence, reference: Runner, *, untrained: bool = False) -> NDArray[np.float32]:
    """Return the (N, K) logits of the reference for the photos of the evidence.

    Raises ModelError when one is not finite, or when the answers are no better than chance, unless it is said to be untrained.
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
    cause = explained(lambda: _cause(evidence, reference, answers)) or _UNKNOWN
    raise ModelError(
        f"{subject}: {chance_words(answers)}; {cause} Random weights on purpose: --untrained; nothing was written"
    )


def _cause(evidence: Evidence, reference: Runner, answers: Answers) -> str:
    """Return, in words, what the answers give away; nothing when it is nothing."""
    classes = evidence.bundle.manifest.classes
    causes = []
    cured = Answers.of(evidence.answers(_Swapped(reference)), answers.labels)
    if not no_better_than_chance(cured.confusion()):
        causes.append(f"{cured.right.mean():.1%} are right with red and blue swapped: it wants BGR, export it for RGB")
    if moved := describe_moves(permuted_classes(answers.confusion()), classes):
        causes.append(f"the classes are in another order: {moved}")
    if len(said := set(answers.top1.tolist())) == 1:
        causes.append(f"it answers {classes[said.pop()]} to every photo: are mean and std those of pixels in [0, 1]")
    return f"{', or '.join(causes)}." if causes else ""


class _Swapped:
    """A runner that sees red and blue swapped."""

    def __init__(self, runner: Runner) -> None:
        self.runtime, self.device, self._runner = runner.runtime, runner.device, runner

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._runner.logits(np.ascontiguousarray(images[..., ::-1]))
