"""Two libraries compute from a candidate's answers what vegrt does: MAPIE the sets, pytorch-ood the scores and their figures.

pip install mapie pytorch-ood
python tests/slow/trust_agrees.py BUNDLE --data DATA --foreign DIR [--variant fp32]

Temperature as `vegrt trust` fits it; sets of validation photos applied to test photos. APS gets the same random numbers. Exit
code 1 if a threshold or a score differs by more than 1e-6, or a set by one class.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import open_bundle
from vegrt.dataset.photos import read_split
from vegrt.evaluate.selection import Selection, select_candidates
from vegrt.evaluate.trust.answers import collect_photo_answers
from vegrt.evaluate.trust.assess import OtherPhotos
from vegrt.evaluate.trust.conformal import COVERAGES, fit_sets
from vegrt.evaluate.trust.foreign import auroc, share_accepted
from vegrt.evaluate.trust.temperature import fit_temperature
from vegrt.infer.runtimes.logits import softmax
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.trust.judge import set_members
from vegrt.infer.trust.record import ScoreMethod, SetRule
from vegrt.infer.trust.scores import foreign_scores

TOLERANCE = 1e-6


class Draws(np.random.RandomState):
    """Gives MAPIE the random numbers of vegrt, which subtracts 1 - u of a label's probability where MAPIE subtracts u."""

    def uniform(self, size: int) -> NDArray[np.float64]:  # type: ignore[override]
        return 1 - np.random.default_rng(0).random(size)


class Given:
    """A classifier for MAPIE whose probabilities are the photos themselves."""

    def __init__(self, classes: int) -> None:
        self.classes_ = np.arange(classes)
        self.is_fitted_ = True

    def fit(self, *_: object) -> Given:
        return self

    def predict_proba(self, photos: NDArray[np.float64]) -> NDArray[np.float64]:
        return photos

    def predict(self, photos: NDArray[np.float64]) -> NDArray[np.int_]:
        return np.asarray(photos.argmax(axis=1))

    def __sklearn_is_fitted__(self) -> bool:
        return True


def compare_sets(photos: NDArray[np.float64], labels: NDArray[np.int_], test: NDArray[np.float64]) -> dict[str, int]:
    """Return for each method and coverage in how many classes the sets of test photos and of probes differ."""
    theirs: Any = importlib.import_module("mapie.classification")
    result = {}
    for method in ("lac", "aps"):
        classifier = theirs.SplitConformalClassifier(
            Given(photos.shape[1]), list(COVERAGES), method, prefit=True, random_state=Draws(0)
        )
        classifier.conformalize(photos, labels)
        rules = [rule for rule in fit_sets(photos, labels) if rule.method == method]
        for place, rule in enumerate(rules):
            rows = np.concatenate([test, probes(rule, photos.shape[1])])
            _, sets = classifier.predict_set(rows, {} if method == "lac" else {"include_last_label": True})
            result[f"{method} {rule.coverage:.0%}"] = int((set_members(rows, rule) != sets[:, :, place]).sum())
    return result


def probes(rule: SetRule, classes: int) -> NDArray[np.float64]:
    """Return (2, K) probabilities, TOLERANCE within and beyond the threshold: only the same one gives the same sets."""
    assert rule.threshold is not None
    largest = rule.threshold if rule.method == "aps" else 1 - rule.threshold
    firsts = np.array([largest - TOLERANCE, largest + TOLERANCE])
    return np.column_stack([firsts, 1 - firsts, np.zeros((2, classes - 2))])


def compare_scores(own: Answers, foreign: Answers) -> dict[str, float]:
    """Return the largest differences of the scores, of their AUROC and of the share of foreign photos that pass."""
    torch: Any = importlib.import_module("torch")
    detectors: Any = importlib.import_module("pytorch_ood.detector")
    metrics: Any = importlib.import_module("pytorch_ood.metrics.functional")
    result: dict[str, float] = {}
    logits = torch.from_numpy(np.concatenate([own.logits, foreign.logits]).astype(np.float64))
    kinds = torch.tensor([0] * len(own.logits) + [-1] * len(foreign.logits))
    methods: dict[ScoreMethod, Any] = {"energy": detectors.EnergyBased.score, "max-logit": detectors.MaxLogit.score}
    for method, score in methods.items():
        theirs = score(logits)
        ours = [foreign_scores(method, answers, None) for answers in (own, foreign)]
        result[method] = float(np.abs(np.concatenate(ours) - theirs.numpy()).max())
        result[f"{method}: AUROC"] = abs(auroc(*ours) - float(metrics.auroc(theirs, kinds)))
        # the photos of the classes are to be kept, so they are its positives
        passed = float(metrics.fpr_at_tpr(-theirs, -1 - kinds))
        result[f"{method}: passed"] = abs(share_accepted(*ours) - passed)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--foreign", type=Path, required=True)
    parser.add_argument("--variant", default="fp32")
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    (candidate,) = select_candidates(bundle, Selection("onnxruntime", None, (options.variant,)))
    answers, labels = {}, {}
    classes = bundle.manifest.classes
    photos = {
        "validation": read_split(options.data, "validation", classes).photos,
        "test": read_split(options.data, "test", classes).photos,
        "foreign": OtherPhotos(foreign=options.foreign).foreign_photos(),
    }
    for name, part in photos.items():
        collected = collect_photo_answers(bundle, part, [candidate], name)
        answers[name], labels[name] = collected.photos[candidate], collected.labels
    temperature = fit_temperature(answers["validation"].logits, labels["validation"])
    probabilities = {
        name: softmax((answers[name].logits / np.float64(temperature)).astype(np.float32))
        for name in ("validation", "test")
    }
    has_failed = False
    for name, differ in compare_sets(probabilities["validation"], labels["validation"], probabilities["test"]).items():
        say(
            f"sets, {name}: those of {len(labels['test'])} photos and 2 probes of the threshold differ in {differ} classes"
        )
        has_failed |= differ > 0
    for name, difference in compare_scores(answers["test"], answers["foreign"]).items():
        say(f"scores, {name}: differ by at most {difference:.1e}")
        has_failed |= difference > TOLERANCE
    return int(has_failed)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
