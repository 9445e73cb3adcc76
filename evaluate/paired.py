"""Two candidates on the same images: what changed, whether it is more than chance, and the gate's verdict on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.detectable import detectable_drop
from vegrt.evaluate.figures import Answers
from vegrt.evaluate.resampling import Resamples, percentile
from vegrt.evaluate.statistics import (
    CONFIDENCE,
    Interval,
    decidable_margin,
    holm,
    images_to_decide,
    mcnemar,
    tango,
    verdict_of,
)


def compare(reference: NDArray[np.intp], candidate: NDArray[np.intp], labels: NDArray[np.int_]) -> dict[str, Any]:
    """Return the paired comparison of two (N,) top-1 predictions on the same images. drop: proportion of N."""
    wrong, right = changes(reference, candidate, labels)
    newly_wrong, newly_right = int(wrong.sum()), int(right.sum())
    flips = int((reference != candidate).sum())
    return {
        "flips": flips,
        "newly_wrong": newly_wrong,
        "newly_right": newly_right,
        "wrong_to_other_wrong": flips - newly_wrong - newly_right,
        "agreement": 1 - flips / len(labels),
        "drop": asdict(tango(newly_wrong, newly_right, len(labels))),
        "mcnemar_p": mcnemar(newly_wrong, newly_right),
        "detectable_drop": detectable_drop(newly_wrong, newly_right, len(labels)),
    }


def paired_figures(reference: Answers, candidate: Answers, resamples: Resamples) -> dict[str, Any]:
    """Return `compare` of the answers with the divergence of their probabilities and the drop of every class."""
    kl = divergence(reference, candidate)
    interval = percentile(kl.mean(), resamples.means(kl[:, None])[:, 0])
    classes = candidate.probabilities.shape[1]
    return {
        **compare(reference.top1, candidate.top1, candidate.labels),
        "kl": asdict(interval),
        "classes": class_drops(reference.top1, candidate.top1, candidate.labels, classes),
    }


def divergence(reference: Answers, candidate: Answers) -> NDArray[np.float64]:
    """Return the (N,) Kullback-Leibler divergences of the candidate's probabilities from the reference's, in nats."""
    logs = reference.log_probabilities - candidate.log_probabilities
    result: NDArray[np.float64] = (reference.probabilities * logs).sum(axis=1)
    return result


def class_drops(
    reference: NDArray[np.intp], candidate: NDArray[np.intp], labels: NDArray[np.int_], classes: int
) -> list[dict[str, Any]]:
    """Return what changed on the images of each class; p: exact McNemar, p_holm: corrected over all classes."""
    wrong, right = (np.bincount(labels[kind], minlength=classes) for kind in changes(reference, candidate, labels))
    support = np.bincount(labels, minlength=classes)
    tests = [mcnemar(*pair) for pair in zip(wrong.tolist(), right.tolist(), strict=True)]
    rows = zip(wrong.tolist(), right.tolist(), support.tolist(), tests, holm(tests), strict=True)
    return [
        {
            "newly_wrong": lost,
            "newly_right": won,
            "drop": asdict(tango(lost, won, own)) if own else None,
            "p": p,
            "p_holm": corrected,
        }
        for lost, won, own, p, corrected in rows
    ]


def changes(
    reference: NDArray[np.intp], candidate: NDArray[np.intp], labels: NDArray[np.int_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of N images became wrong and which became right."""
    was_right, is_right = reference == labels, candidate == labels
    return was_right & ~is_right, ~was_right & is_right


@dataclass(frozen=True, slots=True)
class Margin:
    """The gate's margin, in percentage points. decidable: the least that the photos can decide; auto: taken for that reason."""

    points: float
    decidable: float
    auto: bool = False

    @classmethod
    def of(cls, asked: float | None, images: int) -> Margin:
        """Return the margin that was asked for; None: the least that so many images can decide."""
        least = decidable_margin(images)
        return cls(least if asked is None else asked, least, auto=asked is None)

    def __str__(self) -> str:
        """Return it in words."""
        chosen = " (auto: the least that so many photos decide)" if self.auto else ""
        return f"the margin of {self.points:g} points{chosen}"


def gate(paired: Mapping[str, Any], images: int, margin: Margin) -> dict[str, Any]:
    """Return the gate's verdict on a comparison, with the reason in words."""
    drop = Interval(**paired["drop"])
    verdict = verdict_of(drop, margin.points / 100)
    span = f"drop {100 * drop.value:+.2f} points, {CONFIDENCE:.0%} interval {100 * drop.low:+.2f} to {100 * drop.high:+.2f}"
    if verdict != "INCONCLUSIVE":
        words = "below" if verdict == "PASS" else "above"
        return {"verdict": verdict, "reason": f"{span}: all {words} {margin}", "images_to_decide": None}
    needed = images_to_decide(paired["newly_wrong"], paired["newly_right"], images, margin.points / 100)
    advice = f"about {needed:,} images would decide" if needed else "more images alone would hardly decide"
    reason = f"{span}: {margin} lies within; at these rates {advice}"
    if margin.points < (least := decidable_margin(images)):
        reason += f"; {images:,} photos decide margins of {least:g} points or more, see --margin"
    return {"verdict": verdict, "reason": reason, "images_to_decide": needed}


def reference_gate() -> dict[str, Any]:
    """Return what stands in place of a verdict where the reference is compared with itself."""
    return {"verdict": "REFERENCE", "reason": "what the others are compared with", "images_to_decide": None}
