"""Measures on test photos, foreign photos and photos from elsewhere what trust.json promises of every candidate."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Photo, Split, image_files
from vegrt.errors import DataError, VegrtError
from vegrt.evaluate.resampling import Resamples
from vegrt.evaluate.statistics import wilson
from vegrt.evaluate.trust.answers import collect_photo_answers
from vegrt.evaluate.trust.foreign import auroc, share_accepted
from vegrt.evaluate.trust.temperature import calibration_figures
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.trust.judge import Judge, Judged, set_members
from vegrt.infer.trust.store import entry_of, judge_of, load_trust
from vegrt.results.evaluation import Evaluation
from vegrt.results.trust import Acceptance, ForeignFigures, RiskPoint, SetFigures, ShiftedFigures, TrustFigures

_CURVE_POINTS = 100


@dataclass(frozen=True, slots=True)
class OtherPhotos:
    """Photos besides the split. foreign: folder of photos of no class. shifted: folder with class folders; some may lack."""

    foreign: Path | None = None
    shifted: Path | None = None

    def foreign_photos(self) -> list[Photo]:
        """Return the foreign photos, without a meaningful label; none without a folder."""
        return [Photo(path, 0) for path in _photos_below(self.foreign, "--foreign")] if self.foreign else []

    def shifted_photos(self, classes: Sequence[str]) -> list[Photo]:
        """Return the labelled photos; none without a folder. Raises DataError for a folder that is no class."""
        if self.shifted is None:
            return []
        paths = _photos_below(self.shifted, "--shifted")
        names = [path.relative_to(self.shifted).parts[0] for path in paths]
        if unknown := sorted({name for name in names if name not in classes}):
            raise DataError(
                f"--shifted {self.shifted}: {unknown[0]} is no class; expected folders of {', '.join(classes)}"
            )
        return [Photo(path, classes.index(name)) for path, name in zip(paths, names, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Photos:
    """A candidate's judged answers to N photos. labels, right: (N,); of foreign photos they mean nothing."""

    answers: Answers
    judged: Judged
    labels: NDArray[np.int_]

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.asarray(self.answers.logits.argmax(axis=1) == self.labels)

    @property
    def confidence(self) -> NDArray[np.float64]:
        return np.asarray(self.judged.probabilities.max(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class TrustPlan:
    """What is to be measured: the candidates that trust.json knows, and the photos."""

    bundle: Bundle
    split: Split
    judges: Mapping[Candidate, Judge]
    foreign: Sequence[Photo] = ()
    shifted: Sequence[Photo] = ()


def plan_trust(
    bundle: Bundle, split: Split, chosen: Sequence[Candidate], others: OtherPhotos | None = None
) -> TrustPlan:
    """Return what `assess_trust` will measure; no candidates without trust.json.

    Raises DataError for folders that cannot be used, VegrtError where other photos are named but trust.json knows no candidate.
    """
    others = others or OtherPhotos()
    foreign, shifted = others.foreign_photos(), others.shifted_photos(split.classes)
    judges = _judges(bundle, chosen)
    if not judges and (foreign or shifted):
        option = "--foreign" if foreign else "--shifted"
        cure = f"make it: vegrt trust {bundle.path} --data DATA"
        raise VegrtError(f"{option}: {bundle.path} has no trust.json about its models, which is judged by them; {cure}")
    return TrustPlan(bundle, split, judges, foreign, shifted)


def assess_trust(plan: TrustPlan, keys: Collection[str]) -> dict[str, TrustFigures]:
    """Return the figures of each candidate of the plan, by key. keys: of the candidates that could be loaded."""
    judges = {candidate: judge for candidate, judge in plan.judges.items() if str(candidate) in keys}
    bundle, split = plan.bundle, plan.split
    test = _judged(bundle, split.photos, judges, f"Judging {split.name} photos")
    foreign = _judged(bundle, plan.foreign, judges, "Judging foreign photos")
    shifted = _judged(bundle, plan.shifted, judges, "Judging photos from elsewhere")
    return {
        str(candidate): replace(
            _figures(judge, test[candidate]),
            foreign=_foreign(test[candidate], foreign[candidate]) if foreign else None,
            shifted=_shifted(shifted[candidate]) if shifted else None,
        )
        for candidate, judge in judges.items()
    }


def with_trust(evaluation: Evaluation, figures: Mapping[str, TrustFigures]) -> Evaluation:
    """Return an evaluation whose rows have these figures."""
    rows = (replace(row, trust=figures.get(row.key)) for row in evaluation.candidates)
    return replace(evaluation, candidates=tuple(rows))


def aurc(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the mean, over k = 1 to N, of the share of errors among the k most confident photos.

    Y. Geifman, G. Uziel, R. El-Yaniv, Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, ICLR 2019.
    """
    return float(_risks(confidence, right).mean())


def _risks(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the (N,) share of errors among the k most confident photos, for k = 1 to N."""
    order = np.argsort(-confidence, kind="stable")
    return np.asarray((~right[order]).cumsum() / np.arange(1, len(right) + 1))


def _judges(bundle: Bundle, chosen: Sequence[Candidate]) -> dict[Candidate, Judge]:
    trust = load_trust(bundle)
    if trust is None:
        return {}
    entries = {candidate: entry_of(trust, bundle, candidate) for candidate in chosen}
    return {candidate: judge_of(trust, entry, bundle) for candidate, entry in entries.items() if entry is not None}


def _judged(
    bundle: Bundle, photos: Sequence[Photo], judges: Mapping[Candidate, Judge], title: str
) -> dict[Candidate, _Photos]:
    if not photos or not judges:
        return {}
    collected = collect_photo_answers(bundle, photos, list(judges), title)
    return {
        candidate: _Photos(collected.photos[candidate], judge.judge(collected.photos[candidate]), collected.labels)
        for candidate, judge in judges.items()
    }


def _figures(judge: Judge, photos: _Photos) -> TrustFigures:
    trust, count = judge.trust, len(photos.labels)
    calibration = calibration_figures(photos.answers.logits, photos.labels, trust.temperature, Resamples(count))
    risks = _risks(photos.confidence, photos.right)
    places = np.unique(np.ceil(np.arange(1, _CURVE_POINTS + 1) * count / _CURVE_POINTS).astype(int))
    return TrustFigures(
        score=trust.foreign.method,
        temperature=trust.temperature,
        max_error=trust.abstention.max_error,
        ece=calibration.ece,
        nll=calibration.nll,
        sets=_sets(judge, photos),
        aurc=float(risks.mean()),
        curve=tuple(RiskPoint(place / count, float(risks[place - 1])) for place in places.tolist()),
        acceptance=_acceptance(photos),
    )


def _sets(judge: Judge, photos: _Photos) -> tuple[SetFigures, ...]:
    figures = []
    for rule in judge.trust.sets:
        ways = ([False] if rule.threshold is not None else []) + ([True] if rule.is_class_conditional else [])
        for by_class in ways:
            members = set_members(photos.judged.probabilities, rule, by_class=by_class)
            sizes, holds = members.sum(axis=1), members[np.arange(len(members)), photos.labels]
            covered = wilson(int(holds.sum()), len(holds))
            empty = float((sizes == 0).mean())
            figures.append(SetFigures(rule.method, rule.coverage, by_class, covered, float(sizes.mean()), empty))
    return tuple(figures)


def _acceptance(photos: _Photos, *, is_foreign: bool = False) -> Acceptance:
    decisions = np.array([judgement.decision for judgement in photos.judged.judgements])
    accepted, count = decisions == "accept", len(decisions)
    wrong = int((accepted & (is_foreign | ~photos.right)).sum())
    errors = wilson(wrong, int(accepted.sum())) if accepted.any() else None
    return Acceptance(
        count, wilson(int(accepted.sum()), count), wilson(int((decisions == "foreign").sum()), count), errors
    )


def _foreign(test: _Photos, foreign: _Photos) -> ForeignFigures:
    own, others = test.judged.foreign_scores, foreign.judged.foreign_scores
    return ForeignFigures(auroc(own, others), share_accepted(own, others), _acceptance(foreign, is_foreign=True))


def _shifted(photos: _Photos) -> ShiftedFigures:
    top1 = wilson(int(photos.right.sum()), len(photos.labels))
    return ShiftedFigures(top1, float(photos.confidence.mean()), _acceptance(photos))


def _photos_below(folder: Path, option: str) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{option} {folder}: no such folder; expected a folder with photos")
    paths = image_files(folder)
    if not paths:
        raise DataError(f"{option} {folder}: holds no photos; expected photos below it")
    return paths
