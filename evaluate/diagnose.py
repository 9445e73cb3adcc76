"""Why an answer is wrong: classes in another order, shuffled labels, or colours in another order.

The gate compares candidates with each other, so it cannot see what makes all of them wrong alike. Every cause has a trace of its
own: a permutation leaves the confusion matrix intact but for the order of its columns; shuffled labels leave a model that is
sure of itself and right by chance; swapped colours are cured by swapping them back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import DataError, ModelError
from vegrt.evaluate.figures import Answers
from vegrt.evaluate.statistics import mcnemar, wilson
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.runtimes.logits import cosines
from vegrt.infer.runtimes.runner import Runner
from vegrt.results.evaluation import Cause, ClassesPermuted, ClassMove, ColoursSwapped
from vegrt.results.wording import colours_words, moves_words

log = logging.getLogger(__name__)

T = TypeVar("T")

TRIED = 64  # photos that are looked at with other colours
_FAR = 0.1  # how far below the validation accuracy is more than other photos
_PLAIN = 0.9  # the accuracy below which a model of unknown accuracy is looked at
_SURE = 0.01  # the p-value of a cure by swapped colours
_ERROR_LEFT = 0.1  # of the golden cosine's distance from 1 where a cure fits
_SUBSTANTIAL = 0.6
_ENOUGH = 32  # photos below which chance and a weak model look alike too often


@dataclass(frozen=True, slots=True)
class DiagnosisSubject:
    """What is diagnosed: a bundle's reference over a split. kept: positions of the photos that the answers are of."""

    bundle: Bundle
    split: Split
    kept: Sequence[int]
    answers: Answers

    @property
    def accuracy(self) -> float:
        """Return the top-1 accuracy."""
        return float(self.answers.right.mean())


def explained(explain: Callable[[], T]) -> T | None:
    """Return an explanation, or None where finding it fails: the error that it would explain is reported in any case."""
    try:
        return explain()
    except Exception:  # runtimes' exceptions share no base class, and none of them is the error to report
        log.debug("no explanation", exc_info=True)
        return None


def check_labels(subject: DiagnosisSubject, runner: Runner) -> None:
    """Raise when the reference's answers say that labels or pixels are not what the model was trained on.

    runner: the reference. Raises DataError for permuted or shuffled labels, ModelError for a model that wants BGR. Accuracy far
    below the validation accuracy without such a cause is logged.
    """
    bundle, answers = subject.bundle, subject.answers
    moved = moves_words(permuted_classes(answers.confusion()), bundle.manifest.classes)
    known = bundle.manifest.training.get("validation_accuracy")
    best = wilson(int(answers.right.sum()), len(answers.labels)).high
    chance = _says_nothing(subject)
    if not moved and not chance and best >= (_PLAIN if known is None else known - _FAR):
        return
    if swapped := explained(lambda: swapped_colours(subject, runner)):
        cure = colours_words(swapped)
        doubt = f", unless the labels are permuted ({moved}); this tells: vegrt verify {bundle.path}" if moved else ""
        raise ModelError(f"{bundle.path}: {cure}; it looks like a model for BGR input: export it for RGB{doubt}")
    if moved:
        raise DataError(
            f"{subject.split.root}: labels look permuted: {moved}; the class order in manifest.json, or what the folders are "
            f"called, is not that of the training; put it right (vegrt verify {bundle.path} compares the models' own order)"
        )
    if known is not None and best < known - _FAR:
        _judge_low_accuracy(subject, known)
    if chance:
        raise ModelError(
            f"{bundle.path}: {chance_words(answers)}; no candidate can be judged by it: are classes, mean and std those of the "
            f"training, and are these such photos as it was trained on? Untrained on purpose: vegrt export --untrained"
        )


def chance_words(answers: Answers) -> str:
    """Return, in words, that the answers are no better than chance."""
    right, total = int(answers.right.sum()), len(answers.labels)
    chance = _chance(answers.confusion())
    return f"the reference is right on {right} of {total} photos ({right / total:.1%}), no better than chance ({chance:.1%})"


def _says_nothing(subject: DiagnosisSubject) -> bool:
    """Return whether enough photos show that the reference is no better than chance, and it was not exported as such."""
    known = [one.details for one in subject.bundle.manifest.artifacts if (one.role, one.variant) == ("model", "fp32")]
    if len(subject.answers.labels) < _ENOUGH or any(details.get("untrained") for details in known):
        return False
    return no_better_than_chance(subject.answers.confusion())


def find_causes(subject: DiagnosisSubject, answers: Answers, runner: Runner) -> tuple[Cause, ...]:
    """Return what may explain that a candidate failed the gate; any of them may be the cause. Empty if unknown."""
    swapped = swapped_colours(replace(subject, answers=answers), runner)
    moves = tuple(ClassMove(*move) for move in permuted_classes(answers.confusion()).items())
    return (*([swapped] if swapped else []), *([ClassesPermuted(moves)] if moves else []))


def permuted_classes(confusion: NDArray[np.int_]) -> dict[int, int]:
    """Return the truth and the answer of each class in a permutation of the labels; empty without one.

    confusion: (K, K), rows are the truth. Classes are moved when most of each one's photos are answered as another, no two as the
    same one, and all of them together more than half beyond chance.
    """
    support, answer = confusion.sum(axis=1), confusion.argmax(axis=1)
    rows = np.arange(len(confusion))
    moved = (answer != rows) & (2 * confusion[rows, answer] > support)
    truths = rows[moved]
    if len(truths) < 2 or set(truths.tolist()) != set(answer[moved].tolist()):
        return {}
    hits = int(confusion[truths, answer[moved]].sum())
    if wilson(hits, int(support[moved].sum())).low <= 0.5:
        return {}
    return dict(zip(truths.tolist(), answer[moved].tolist(), strict=True))


def no_better_than_chance(confusion: NDArray[np.int_]) -> bool:
    """Return whether answers and labels look independent: the agreement that their totals alone give lies in the interval."""
    return wilson(int(confusion.trace()), int(confusion.sum())).low <= _chance(confusion)


def has_learned(confusion: NDArray[np.int_]) -> bool:
    """Return whether answers and labels agree substantially: Cohen's kappa from 0.6 on (Landis and Koch, Biometrics 33, 1977)."""
    right, chance = confusion.trace() / confusion.sum(), _chance(confusion)
    return bool(right - chance >= _SUBSTANTIAL * (1 - chance) > 0)


def _chance(confusion: NDArray[np.int_]) -> float:
    """Return the share of right answers that the totals of rows and columns alone give."""
    return float(confusion.sum(axis=0) @ confusion.sum(axis=1)) / int(confusion.sum()) ** 2


def swapped_colours(subject: DiagnosisSubject, runner: Runner) -> ColoursSwapped | None:
    """Return how many more photos are right with red and blue swapped; None unless they are significantly more.

    At most TRIED photos, evenly spread over the split, are decoded and run once more.
    """
    spread = np.unique(np.linspace(0, len(subject.kept) - 1, TRIED).round().astype(int))
    paths = [subject.split.photos[subject.kept[index]].path for index in spread]
    found = [batch.images for batch in batches(paths, subject.bundle.manifest.contract, 16)]
    top1 = runner.logits(np.ascontiguousarray(np.concatenate(found)[..., ::-1])).argmax(axis=1)
    labels, before = subject.answers.labels[spread], subject.answers.right[spread]
    after = top1 == labels
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    if won <= lost or mcnemar(won, lost) > _SURE:
        return None
    return ColoursSwapped(len(spread), float(before.mean()), float(after.mean()))


def explain_difference(
    want: NDArray[np.float32], runner: Runner, images: NDArray[np.uint8], names: Sequence[str]
) -> str:
    """Return, in words, why a runner's logits for (N, H, W, 3) images are not the (N, K) wanted ones; empty if unknown."""
    got = runner.logits(images)
    distance = 1 - float(cosines(want, got).min())
    swapped = runner.logits(np.ascontiguousarray(images[..., ::-1]))
    if 1 - float(cosines(want, swapped).min()) < _ERROR_LEFT * distance:
        return "they fit when red and blue are swapped: it looks like BGR input"
    order = _column_order(want, got)
    if order is not None and 1 - float(cosines(want, got[:, order]).min()) < _ERROR_LEFT * distance:
        moved = {truth: int(answer) for truth, answer in enumerate(order) if truth != answer}
        return f"they fit in another class order: {moves_words(moved, names)}"
    return ""


def _column_order(want: NDArray[np.float32], got: NDArray[np.float32]) -> NDArray[np.intp] | None:
    """Return which column of `got` is nearest to each of `want`, if that is a permutation."""
    nearest = np.abs(want.T[:, None, :] - got.T[None, :, :]).sum(axis=2).argmin(axis=1)
    return nearest if len(set(nearest.tolist())) == len(nearest) else None


def _judge_low_accuracy(subject: DiagnosisSubject, known: float) -> None:
    confidence = float(subject.answers.probabilities.max(axis=1).mean())
    seen = f"top-1 {subject.accuracy:.1%} here, {known:.1%} on validation photos"
    if no_better_than_chance(subject.answers.confusion()) and confidence > known / 2:
        raise DataError(
            f"{subject.split.root}: labels look shuffled: {seen}, no better than chance, though the model is sure of itself "
            f"(mean probability {confidence:.2f}); compare the photos with their folders; or is the model damaged: vegrt verify"
        )
    log.warning("%s: %s; other photos than it was trained on, or wrong labels?", subject.split.root, seen)
