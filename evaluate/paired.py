"""Paired comparison of two candidates on the same images: changed answers, their significance, and the gate's verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.detectable import detectable_drop
from vegrt.evaluate.figures import LabelledAnswers
from vegrt.evaluate.resampling import Resamples, percentile
from vegrt.evaluate.statistics import decidable_margin, holm, images_to_decide, mcnemar, tango, verdict_of
from vegrt.results.evaluation import ClassChange, Gate, Paired


def compare_top1(reference: NDArray[np.intp], candidate: NDArray[np.intp], labels: NDArray[np.int_]) -> Paired:
    """Return the paired comparison of two (N,) top-1 predictions on the same images, without kl and classes."""
    wrong, right = changed_answers(reference, candidate, labels)
    newly_wrong, newly_right = int(wrong.sum()), int(right.sum())
    flips = int((reference != candidate).sum())
    return Paired(
        flips=flips,
        newly_wrong=newly_wrong,
        newly_right=newly_right,
        wrong_to_other_wrong=flips - newly_wrong - newly_right,
        agreement=1 - flips / len(labels),
        drop=tango(newly_wrong, newly_right, len(labels)),
        mcnemar_p=mcnemar(newly_wrong, newly_right),
        detectable_drop=detectable_drop(newly_wrong, newly_right, len(labels)),
    )


def compare_answers(reference: LabelledAnswers, candidate: LabelledAnswers, resamples: Resamples) -> Paired:
    """Return `compare_top1` with the divergence of the probabilities, where they are known, and the drop of every class."""
    kl = candidate.divergence
    return replace(
        compare_top1(reference.top1, candidate.top1, candidate.labels),
        kl=None if kl is None else percentile(kl.mean(), resamples.means(kl[:, None])[:, 0]),
        classes=class_drops(reference.top1, candidate.top1, candidate.labels, candidate.classes),
    )


def class_drops(
    reference: NDArray[np.intp], candidate: NDArray[np.intp], labels: NDArray[np.int_], classes: int
) -> tuple[ClassChange, ...]:
    """Return the changes on the images of each class; p_holm: corrected over all classes."""
    wrong, right = (
        np.bincount(labels[changed], minlength=classes) for changed in changed_answers(reference, candidate, labels)
    )
    support = np.bincount(labels, minlength=classes)
    tests = [mcnemar(*pair) for pair in zip(wrong.tolist(), right.tolist(), strict=True)]
    rows = zip(wrong.tolist(), right.tolist(), support.tolist(), tests, holm(tests), strict=True)
    return tuple(
        ClassChange(newly_wrong, newly_right, p, p_holm, tango(newly_wrong, newly_right, images) if images else None)
        for newly_wrong, newly_right, images, p, p_holm in rows
    )


def changed_answers(
    reference: NDArray[np.intp], candidate: NDArray[np.intp], labels: NDArray[np.int_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return two (N,) masks: images whose answer became wrong, and images whose answer became right."""
    was_right, is_right = reference == labels, candidate == labels
    return was_right & ~is_right, ~was_right & is_right


@dataclass(frozen=True, slots=True)
class Margin:
    """The gate's margin in percentage points.

    decidable: the smallest margin that this number of photos can decide. auto: whether the margin was set to it.
    """

    points: float
    decidable: float
    auto: bool = False

    @classmethod
    def of(cls, points: float | None, images: int) -> Margin:
        """Return a margin of `points`; None: the smallest that this number of images can decide."""
        least = decidable_margin(images)
        return cls(least if points is None else points, least, auto=points is None)


def gate(paired: Paired, images: int, margin: Margin) -> Gate:
    """Return the gate's verdict on a comparison."""
    limit = margin.points / 100
    verdict = verdict_of(paired.drop, limit)
    if verdict != "INCONCLUSIVE":
        return Gate(verdict)
    return Gate(verdict, images_to_decide=images_to_decide(paired.newly_wrong, paired.newly_right, images, limit))
