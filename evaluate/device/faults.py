"""Diagnosis of a device's answers: another class order, or pixels that are prepared in another way.

Pixels are diagnosed by doing what the device may do wrong: fp32 answers the same photos again, prepared with a suspected fault.
The fault that makes fp32 give the device's answers is the cause. It has to reproduce most of the answers that differ from those
of fp32 on right pixels, and lose fewer of the others: any change of the pixels changes a few answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.diagnose import DiagnosisSubject, has_learned, permuted_classes
from vegrt.evaluate.figures import LabelledAnswers
from vegrt.evaluate.statistics import mcnemar, wilson
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.runtimes.runner import Runner
from vegrt.photo.contract import Contract
from vegrt.results.evaluation import Cause, ClassesPermuted, ClassMove, Figures, Gate, PixelFault, PixelsDiffer

TRIED = 300  # photos to answer again: half of them with a changed answer, where there are more
SCREENED = 48  # of them, with every suspected fault and pair of faults
_SIGNIFICANCE = 0.01
_NEARLY_ALL = 0.95  # share of agreeing photos above which no second fault is suspected
_BATCH = 16
Faults = tuple[PixelFault, ...]  # of one program, at once


def diagnose_device(subject: DiagnosisSubject, answers: LabelledAnswers, figures: Figures, runner: Runner) -> Gate:
    """Return the gate of a device with the likely causes; a FAIL for another class order, whatever the margin.

    subject, runner: the reference. Looks for causes where the gate failed and where the accuracy changed significantly. Where
    pixels and class order explain the answers equally well, both are causes: BGR input exchanges classes that differ by colour.
    """
    moves = permuted_classes(answers.confusion()) or permuted_classes(_confusion(subject.answers, answers))
    if not moves and figures.gate.verdict != "FAIL" and figures.paired.mcnemar_p >= _SIGNIFICANCE:
        return figures.gate
    trial = Trial.of(subject, answers.top1, runner)
    faults, agreeing = trial.find_faults()
    permuted = trial.agreement_permuted(moves)
    causes: list[Cause] = []
    if faults and not (moves and _is_better(permuted, agreeing)):
        causes.append(PixelsDiffer(faults, len(agreeing), int((~trial.differs).sum()), int(agreeing.sum())))
    if not moves or (causes and _is_better(agreeing, permuted)):
        return replace(figures.gate, causes=tuple(causes))
    causes.append(ClassesPermuted(tuple(ClassMove(*move) for move in moves.items())))
    return Gate("FAIL", causes=tuple(causes))


def _confusion(reference: LabelledAnswers, answers: LabelledAnswers) -> NDArray[np.int_]:
    """Return the (K, K) counts of photos: rows are the reference's answer, columns the device's."""
    return replace(answers, labels=reference.top1).confusion()


def suspects(contract: Contract) -> list[PixelFault]:
    """Return the faults that change what a contract says."""
    mean, deviation = np.array(contract.mean), np.array(contract.std)
    filtered = contract.interpolation in ("bilinear", "bicubic")
    possible: dict[PixelFault, bool] = {
        "swapped-colours": contract.network_color != "L",
        "no-antialias": filtered and contract.antialias,
        "nearest": contract.interpolation != "nearest",
        "bilinear": contract.interpolation != "bilinear",
        "bicubic": contract.interpolation != "bicubic",
        "stretched": contract.fit != "stretch",
        "cropped": contract.fit != "crop",
        # the graph normalises, so pixels that undo it must be between 0 and 255
        "not-normalised": bool((mean >= 0).all() and (mean + deviation <= 1).all()),
        "half-normalised": bool((mean >= deviation).all() and (mean + deviation <= 1).all()),
    }
    return [fault for fault, is_possible in possible.items() if is_possible]


def _is_better(now: NDArray[np.bool_], before: NDArray[np.bool_]) -> bool:
    """Return whether more photos agree, significantly by McNemar's exact test."""
    gained, lost = int((now & ~before).sum()), int((before & ~now).sum())
    return gained > lost and mcnemar(lost, gained) < _SIGNIFICANCE


@dataclass(frozen=True, slots=True)
class Trial:
    """The photos to answer again with fp32, and the device's answers to them.

    runner: the reference. all_top1: the device's (N,) answers. tried: positions of those that are tried; top1: of these. differs:
    whose answer differs from fp32's. weights: photos with a different answer for each of them that is tried, and photos with the
    same one.
    """

    subject: DiagnosisSubject
    runner: Runner
    all_top1: NDArray[np.intp]
    tried: NDArray[np.intp]
    top1: NDArray[np.intp]
    differs: NDArray[np.bool_]
    weights: tuple[float, float]

    @classmethod
    def of(cls, subject: DiagnosisSubject, top1: NDArray[np.intp], runner: Runner, count: int = TRIED) -> Trial:
        """Return the trial of a device's (N,) answers on `count` photos, which are spread evenly."""
        differs = top1 != subject.answers.top1
        different, same = np.flatnonzero(differs), np.flatnonzero(~differs)
        chosen = _spread(different, max(count // 2, count - len(same)))
        others = _spread(same, count - len(chosen))
        tried = np.sort(np.concatenate([chosen, others]))
        weights = len(different) / max(1, len(chosen)), len(same) / max(1, len(others))
        return cls(subject, runner, top1, tried, top1[tried], differs[tried], weights)

    def find_faults(self) -> tuple[Faults, NDArray[np.bool_]]:
        """Return the faults of the pixels that explain the answers best, empty if none do, and which photos agree then.

        Few photos show which single fault comes closest, and which pair if no single one reproduces nearly all answers.
        """
        names, screen = suspects(self.subject.bundle.manifest.contract), self.smaller(SCREENED)
        single = screen.closest([(name,) for name in names])
        if single is None:
            return (), ~self.differs
        chosen, top1 = single, self.answers(single)
        if (screen.answers(single) == screen.top1).mean() < _NEARLY_ALL:
            pair = screen.closest(list(combinations(names, 2)))
            if pair and _is_better((of_pair := self.answers(pair)) == self.top1, top1 == self.top1):
                chosen, top1 = pair, of_pair
        return (chosen, top1 == self.top1) if self.explains(top1) else ((), ~self.differs)

    def smaller(self, count: int) -> Trial:
        """Return the trial of fewer photos."""
        return Trial.of(self.subject, self.all_top1, self.runner, count)

    def closest(self, options: Sequence[Faults]) -> Faults | None:
        """Return the option with which most photos agree, the first of several; None without options."""
        return max(options, key=lambda faults: int((self.answers(faults) == self.top1).sum()), default=None)

    def agreement_permuted(self, moves: Mapping[int, int]) -> NDArray[np.bool_]:
        """Return which photos fp32 answers as the device does after a permutation of the classes."""
        order = np.arange(self.subject.answers.classes)
        order[list(moves)] = list(moves.values())
        result: NDArray[np.bool_] = order[self.subject.answers.top1[self.tried]] == self.top1
        return result

    def answers(self, faults: Faults) -> NDArray[np.intp]:
        """Return fp32's top-1 on pixels with these faults."""
        paths = [self.subject.split.photos[self.subject.readable[index]].path for index in self.tried]
        contract = self.subject.bundle.manifest.contract
        answers = [
            self.runner.logits(_changed(batch.images, contract, faults)).argmax(axis=1)
            for batch in batches(paths, _stated(contract, faults), _BATCH)
        ]
        return np.concatenate(answers)

    def explains(self, top1: NDArray[np.intp]) -> bool:
        """Return whether most of the different answers agree now, and more than are lost among all others.

        The answers must agree substantially too: a device that gives one class to nearly all photos agrees with any large fault.
        """
        classes, agreeing = self.subject.answers.classes, top1 == self.top1
        if not _is_better(agreeing, ~self.differs):
            return False
        cells = np.bincount(top1 * classes + self.top1, minlength=classes**2).reshape(classes, classes)
        gained, lost = int(agreeing[self.differs].sum()), int((~agreeing[~self.differs]).sum())
        is_reproduced = wilson(gained, int(self.differs.sum())).low > 0.5
        return has_learned(cells) and is_reproduced and gained * self.weights[0] > lost * self.weights[1]


def _spread(positions: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return at most `count` positions, evenly spread."""
    if len(positions) <= count:
        return positions
    chosen: NDArray[np.intp] = positions[np.linspace(0, len(positions) - 1, count).round().astype(int)]
    return chosen


def _stated(contract: Contract, faults: Sequence[PixelFault]) -> Contract:
    """Return the contract of a program that has these faults in decoding and resizing."""
    for fault in faults:
        if fault == "no-antialias":
            contract = replace(contract, antialias=False)
        elif fault in ("nearest", "bilinear", "bicubic"):
            contract = replace(contract, interpolation=fault)
        elif fault == "stretched":
            contract = replace(contract, fit="stretch", resize=contract.size)
        elif fault == "cropped":
            contract = replace(contract, fit="crop", resize=contract.size)
    return contract


def _changed(images: NDArray[np.uint8], contract: Contract, faults: Sequence[PixelFault]) -> NDArray[np.uint8]:
    """Return (N, H, W, 3) images that the graph turns into what the network of such a program is given."""
    mean, deviation = 255 * np.array(contract.mean), np.array(contract.std)
    if "swapped-colours" in faults:
        images = images[..., ::-1]
    if "not-normalised" in faults:
        images = (mean + deviation * images).round().astype(np.uint8)
    elif "half-normalised" in faults:
        images = (mean + deviation * (2.0 * images - 255)).round().astype(np.uint8)
    return np.ascontiguousarray(images)
