"""Diagnosis of wrong answers: permuted classes, shuffled labels, or swapped colour channels.

The gate compares candidates with each other, so it misses an error that all of them share. Each cause has its own symptom:
permuted classes permute the columns of the confusion matrix; with shuffled labels the model is confident but right only by
chance; with swapped colours the accuracy recovers when red and blue are swapped back.
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
from vegrt.evaluate.figures import LabelledAnswers
from vegrt.evaluate.statistics import mcnemar, wilson
from vegrt.evaluate.wording import colours_words, moves_words
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.runtimes.logits import cosines
from vegrt.infer.runtimes.runner import Runner
from vegrt.results.evaluation import Cause, ClassesPermuted, ClassMove, ColoursSwapped

log = logging.getLogger(__name__)

T = TypeVar("T")

TRIED = 64  # photos to classify with red and blue swapped
_LARGE_GAP = 0.1  # a gap to the validation accuracy that other photos alone do not explain
_GOOD_ACCURACY = 0.9  # below this, a model without a validation accuracy is diagnosed
_SIGNIFICANCE = 0.01  # p-value at which swapped colours count as the cause
_ERROR_LEFT = 0.1  # largest share of the cosine's distance from 1 that may remain after the true correction
_SUBSTANTIAL_KAPPA = 0.6
_MIN_PHOTOS = 32  # with fewer photos, chance and a weak model are too often indistinguishable


@dataclass(frozen=True, slots=True)
class DiagnosisSubject:
    """The reference's answers on a split of photos. readable: positions in the split of the photos that were answered."""

    bundle: Bundle
    split: Split
    readable: Sequence[int]
    answers: LabelledAnswers

    @property
    def accuracy(self) -> float:
        """Return the top-1 accuracy."""
        return float(self.answers.right.mean())


def try_explain(explain: Callable[[], T]) -> T | None:
    """Return the explanation, or None if computing it fails; the error to explain is reported in any case."""
    try:
        return explain()
    except Exception:  # runtimes' exceptions share no base class, and none of them is the error to report
        log.debug("no explanation", exc_info=True)
        return None


def check_labels(subject: DiagnosisSubject, runner: Runner) -> None:
    """Raise an error if the reference's answers show that labels or pixels differ from the training.

    runner: the reference. Raises DataError for permuted or shuffled labels, ModelError for a model that expects BGR. Accuracy far
    below the validation accuracy without such a cause is logged.
    """
    bundle, answers = subject.bundle, subject.answers
    moves = moves_words(permuted_classes(answers.confusion()), bundle.manifest.classes)
    validation_accuracy = bundle.manifest.training.get("validation_accuracy")
    upper_accuracy = wilson(int(answers.right.sum()), len(answers.labels)).high
    by_chance = _is_uninformative(subject)
    least_accuracy = _GOOD_ACCURACY if validation_accuracy is None else validation_accuracy - _LARGE_GAP
    if not moves and not by_chance and upper_accuracy >= least_accuracy:
        return
    if swapped := try_explain(lambda: swapped_colours(subject, runner)):
        evidence = colours_words(swapped)
        doubt = f", unless the labels are permuted ({moves}); to find out: vegrt verify {bundle.path}" if moves else ""
        raise ModelError(f"{bundle.path}: {evidence}; {_colour_cure(bundle)}{doubt}")
    if moves:
        raise DataError(
            f"{subject.split.root}: labels look permuted: {moves}; the class order in manifest.json or the folder names differ "
            f"from the training; correct them (vegrt verify {bundle.path} compares the order in the models)"
        )
    if validation_accuracy is not None and upper_accuracy < least_accuracy:
        _judge_low_accuracy(subject, validation_accuracy)
    if by_chance:
        raise ModelError(
            f"{bundle.path}: {chance_words(answers)}, so no candidate can be compared with it; check that classes, mean and std "
            f"are those of the training, and that the photos are of the same kind; untrained on purpose: vegrt export --untrained"
        )


def _colour_cure(bundle: Bundle) -> str:
    color = "RGB" if bundle.manifest.contract.network_color == "BGR" else "BGR"
    cure = (
        "export it for RGB" if not bundle.has("source") else f"import it with network_color = '{color}' in its contract"
    )
    return f"it looks like a model for {color} input: {cure}"


def chance_words(answers: LabelledAnswers) -> str:
    """Return a sentence with the share of right answers and the share expected by chance."""
    right, total = int(answers.right.sum()), len(answers.labels)
    chance = _chance(answers.confusion())
    return f"the reference is right on {right} of {total} photos ({right / total:.1%}), no better than chance ({chance:.1%})"


def _is_uninformative(subject: DiagnosisSubject) -> bool:
    """Return whether at least 32 photos show that the reference is no better than chance, and it is not marked untrained."""
    artifacts = subject.bundle.manifest.artifacts
    models = [artifact for artifact in artifacts if (artifact.role, artifact.variant) == ("model", "fp32")]
    if len(subject.answers.labels) < _MIN_PHOTOS or any(model.details.get("untrained") for model in models):
        return False
    return no_better_than_chance(subject.answers.confusion())


def find_causes(subject: DiagnosisSubject, answers: LabelledAnswers, runner: Runner) -> tuple[Cause, ...]:
    """Return the possible causes of a candidate's failed gate; empty if none is known."""
    swapped = swapped_colours(replace(subject, answers=answers), runner)
    moves = tuple(ClassMove(*move) for move in permuted_classes(answers.confusion()).items())
    return (*([swapped] if swapped else []), *([ClassesPermuted(moves)] if moves else []))


def permuted_classes(confusion: NDArray[np.int_]) -> dict[int, int]:
    """Return truth to answer for the classes in a permutation of the labels; empty if there is none.

    confusion: (K, K), rows are the truth. Classes count as permuted if most photos of each are answered as another class, each as
    a different one, and the share of all these answers is significantly above one half.
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
    """Return whether the accuracy is not significantly above the agreement expected from the row and column totals alone."""
    return wilson(int(confusion.trace()), int(confusion.sum())).low <= _chance(confusion)


def has_learned(confusion: NDArray[np.int_]) -> bool:
    """Return whether answers and labels agree substantially: Cohen's kappa >= 0.6 (Landis and Koch, Biometrics 33, 1977)."""
    right, chance = confusion.trace() / confusion.sum(), _chance(confusion)
    return bool(right - chance >= _SUBSTANTIAL_KAPPA * (1 - chance) > 0)


def _chance(confusion: NDArray[np.int_]) -> float:
    """Return the share of right answers expected from the row and column totals alone."""
    return float(confusion.sum(axis=0) @ confusion.sum(axis=1)) / int(confusion.sum()) ** 2


def swapped_colours(subject: DiagnosisSubject, runner: Runner) -> ColoursSwapped | None:
    """Return the accuracy before and after swapping red and blue; None unless the swap improves it significantly.

    Decodes at most TRIED photos, evenly spread over the split, and runs them once more.
    """
    sampled = np.unique(np.linspace(0, len(subject.readable) - 1, TRIED).round().astype(int))
    paths = [subject.split.photos[subject.readable[index]].path for index in sampled]
    images = np.concatenate([batch.images for batch in batches(paths, subject.bundle.manifest.contract, 16)])
    top1 = runner.logits(np.ascontiguousarray(images[..., ::-1])).argmax(axis=1)
    labels, right = subject.answers.labels[sampled], subject.answers.right[sampled]
    right_swapped = top1 == labels
    newly_right, newly_wrong = int((right_swapped & ~right).sum()), int((right & ~right_swapped).sum())
    if newly_right <= newly_wrong or mcnemar(newly_right, newly_wrong) > _SIGNIFICANCE:
        return None
    return ColoursSwapped(len(sampled), float(right.mean()), float(right_swapped.mean()))


def explain_difference(
    expected: NDArray[np.float32], runner: Runner, images: NDArray[np.uint8], names: Sequence[str]
) -> str:
    """Return why a runner's logits for (N, H, W, 3) images differ from the (N, K) expected ones; empty if unknown."""
    logits = runner.logits(images)
    distance = 1 - float(cosines(expected, logits).min())
    swapped = runner.logits(np.ascontiguousarray(images[..., ::-1]))
    if 1 - float(cosines(expected, swapped).min()) < _ERROR_LEFT * distance:
        return "they match when red and blue are swapped: it looks like BGR input"
    order = _column_order(expected, logits)
    if order is not None and 1 - float(cosines(expected, logits[:, order]).min()) < _ERROR_LEFT * distance:
        moves = {truth: int(answer) for truth, answer in enumerate(order) if truth != answer}
        return f"they match in another class order: {moves_words(moves, names)}"
    return ""


def _column_order(expected: NDArray[np.float32], logits: NDArray[np.float32]) -> NDArray[np.intp] | None:
    """Return, for each column of `expected`, the nearest column of `logits`; None if that is no permutation."""
    nearest = np.abs(expected.T[:, None, :] - logits.T[None, :, :]).sum(axis=2).argmin(axis=1)
    return nearest if len(set(nearest.tolist())) == len(nearest) else None


def _judge_low_accuracy(subject: DiagnosisSubject, validation_accuracy: float) -> None:
    """Raise DataError if the labels look shuffled; otherwise log a warning."""
    assert subject.answers.probability is not None  # those of the reference come from logits
    confidence = float(subject.answers.probability.mean())
    accuracies = f"top-1 {subject.accuracy:.1%} here, {validation_accuracy:.1%} on validation photos"
    if no_better_than_chance(subject.answers.confusion()) and confidence > validation_accuracy / 2:
        raise DataError(
            f"{subject.split.root}: labels look shuffled: {accuracies}, no better than chance, though the model is confident "
            f"(mean probability {confidence:.2f}); compare the photos with their folders, and check the model: vegrt verify"
        )
    log.warning("%s: %s; check for wrong labels and for photos of another kind", subject.split.root, accuracies)
