"""Does `vegrt trust --max-error` keep its promise? python tests/slow/trust_risk.py BUNDLE --data DATA [--variant int8-cpu]

The answers of the bundle's candidates to test photos are taken as the world: whichever photos are drawn from them, with
replacement, as many as the validation split has, the threshold is learned from those alone, and the share of errors among all
accepted photos of the world is then its true risk. It may exceed what was stated in 5 % of the splits; exit code 1 for more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import open_bundle
from vegrt.dataset.photos import read_split
from vegrt.evaluate.selection import Selection, select_candidates
from vegrt.evaluate.trust.answers import collect_photo_answers
from vegrt.evaluate.trust.risk import CONFIDENCE, fit_abstention
from vegrt.infer.trust.store import open_judge


def true_risks(
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    own: NDArray[np.bool_],
    max_error: float,
    photos: int,
    splits: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the true risk and the share accepted of each split; 0 and 0 where no threshold was found.

    confidence, right, own: (N,), of the world's photos: calibrated probability, whether the answer is right, and whether the
    photo is not called foreign.
    """
    random = np.random.default_rng(0)
    risks, shares = np.zeros(splits), np.zeros(splits)
    for split in range(splits):
        rows = random.integers(0, len(right), photos)
        rule = fit_abstention(confidence[rows], right[rows], own[rows], max_error)
        if rule.threshold is not None:
            accepted = own & (confidence >= rule.threshold)
            risks[split], shares[split] = (~right[accepted]).mean(), accepted.mean()
    return risks, shares


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--variant", action="append")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--max-error", action="append", type=float, metavar="PERCENT")
    parser.add_argument("--photos", type=int, default=750)
    parser.add_argument("--splits", type=int, default=1000)
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    chosen = select_candidates(bundle, Selection(options.runtime, None, tuple(options.variant or ())))
    photos = read_split(options.data, "test", bundle.manifest.classes).photos
    collected = collect_photo_answers(bundle, photos, chosen, "Answering test photos")
    has_failed = False
    for candidate, answers in collected.photos.items():
        judged = open_judge(bundle, candidate).judge(answers)
        right = answers.logits.argmax(axis=1) == collected.labels
        own = judged.foreign_scores <= 0
        confidence = judged.probabilities.max(axis=1)
        for percent in options.max_error or [1.0]:
            largest = percent / 100
            risks, shares = true_risks(confidence, right, own, largest, options.photos, options.splits)
            violated = int((risks > largest).sum())
            learned = f"{(shares > 0).sum()} found a threshold, median accepted {np.median(shares):.1%}"
            sys.stdout.write(
                f"{candidate}, --max-error {percent:g}: violated in {violated} of {options.splits} splits of {options.photos}; "
                f"{learned}, median risk {np.median(risks):.2%}\n"
            )
            has_failed |= violated > (1 - CONFIDENCE) * options.splits
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())
