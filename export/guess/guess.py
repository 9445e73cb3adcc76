"""Guesses the contract of an ONNX classifier: factor by factor, in races on labelled photos.

The normalisation comes first, because it matters most and hardly depends on the others, then the size where the graph has
none, the fit, and the interpolation. Contracts that differ from the best in one factor and were left at the end of its race meet
in the last one, on more photos; those that are still close to the best then answer further photos, until one is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.dataset.photos import Photo, Split, warn_unreadable
from vegrt.errors import ModelError
from vegrt.evaluate.diagnose import no_better_than_chance, permuted_classes
from vegrt.evaluate.figures import LabelledAnswers
from vegrt.evaluate.paired import changed_answers
from vegrt.evaluate.resampling import Resamples, percentile
from vegrt.evaluate.statistics import CONFIDENCE, holm, mcnemar, tango, wilson
from vegrt.export.guess.answers import Answers, Photos
from vegrt.export.guess.choices import (
    PLAUSIBLE_SIZES,
    coarse,
    describe,
    first_contract,
    fitted,
    interpolated,
    normalised,
    rarity,
    sized,
)
from vegrt.export.guess.race import Step, losses_of, race, same_numbers
from vegrt.export.guess.result import Guess, GuessedContract
from vegrt.export.imported.onnx_file import ImportedModel, ImportedRunner, input_shape, read_imported
from vegrt.photo.contract import Contract

PHOTOS = 400
_SEED = 0
_NORMALISATION = (Step(8, 10), Step(16, 5), Step(32, 3))
_SIZE = (Step(16, 3),)
_COARSE = (Step(8, 6), Step(16, 3))
_FIT = (Step(12, 5), Step(24, 3))
_INTERPOLATION = (Step(24, 4),)
LAST = (Step(40, 6), Step(72, 3), Step(128, 3))
_ROUNDS = 2  # of the last race, at most
UNDECIDED = (Step(256, 3),)  # while more than one contract is left; before all photos
_RESAMPLES = 10_000  # a p-value of 1 / 10,000 stays significant after the correction for all contracts
_NAMED_MOVES = 4  # in a message
_LEVEL = 1 - CONFIDENCE
_FIT_FIELDS = ("size", "resize", "fit", "fill", "pad_position", "rounding")
_INTERPOLATION_FIELDS = ("interpolation", "antialias")
_Change = Callable[[Contract], Sequence[Contract]]


def guess_contract(file: Path, split: Split, *, output: str = "", photos: int = PHOTOS) -> Guess:
    """Return the contracts that fit a float32 ONNX classifier best, by at most `photos` labelled photos.

    split: its classes are in the order of the scores. output: name of the scores in a file with several outputs. Raises
    ModelError for a file that cannot be imported and for one that is no better than chance with any contract, and DataError if no
    photo is readable.
    """
    imported, start, sizes = _opened(file, len(split.classes), output)
    answers = Answers(ImportedRunner(imported, start), Photos(in_turn(split)))
    search = _Search(answers, start, photos)
    search.settle(("mean", "std", "network_color"), normalised, _NORMALISATION)
    if len(sizes) > 1:
        search.settle(("size", "resize"), lambda contract: sized(contract, sizes), _SIZE)
    search.settle((*_FIT_FIELDS, *_INTERPOLATION_FIELDS), coarse, _COARSE)
    search.settle(_FIT_FIELDS, fitted, _FIT)
    search.settle(_INTERPOLATION_FIELDS, interpolated, _INTERPOLATION)
    search.finish()
    ranking, skipped = rank(answers, search.tried, search.best), answers.photos.errors
    warn_unreadable(skipped, len(skipped) + ranking[0].photos)
    _check_better_than_chance(answers, ranking, str(file), split.classes)
    return Guess(
        model=file.name,
        layout=imported.layout,
        classes=split.classes,
        photos=ranking[0].photos,
        unreadable=len(skipped),
        tried=len(search.tried),
        computed=answers.computed,
        moves=_moves(answers, ranking[0], split.classes),
        ranking=ranking,
    )


def in_turn(split: Split) -> list[Photo]:
    """Return the photos of a split in an order of which every part has about as many photos of each class; always the same."""
    random = np.random.default_rng(_SEED)
    by_class = [[photo for photo in split.photos if photo.label == label] for label in range(len(split.classes))]
    places = [
        (place, photo)
        for photos in by_class
        for place, photo in zip(random.permutation(len(photos)), photos, strict=True)
    ]
    random.shuffle(places)
    return [photo for _, photo in sorted(places, key=lambda pair: int(pair[0]))]


class _Search:
    """The search: the best contract so far, every contract that was tried, and the best values of each factor."""

    def __init__(self, answers: Answers, start: Contract, photos: int) -> None:
        self.best, self.tried = start, list[Contract]()
        self._answers, self._photos = answers, photos
        self._choices: list[dict[str, Any]] = []  # values of one factor that were left at the end of its race

    def settle(self, names: Sequence[str], change: _Change, steps: Sequence[Step]) -> None:
        """Choose one factor: race the contracts that `change` makes of the best one. names: the contract's fields that differ."""
        ranked = self._race(change(self.best), steps)
        self.best = ranked[0]
        self._choices += [{name: getattr(contract, name) for name in names} for contract in ranked]

    def finish(self) -> None:
        """Race the best contract and those that differ from it in one factor; again if another one wins."""
        for _ in range(_ROUNDS):
            before, neighbours = self.best, [replace(self.best, **values) for values in self._choices]
            left = self._race([self.best, *neighbours], LAST)
            self.best = left[0]
            if self.best == before:
                break
        self._decide(left)

    def _decide(self, contracts: Sequence[Contract]) -> None:
        """Race contracts that are close to each other on more photos, while they differ on those that they answered."""
        for step in (*UNDECIDED, Step(self._photos, 2)):
            count = min(map(self._answers.answered, contracts))
            if len(same_numbers(self._answers, contracts, count)) == 1:
                return
            contracts = self._race(contracts, (step,))
            self.best = contracts[0]

    def _race(self, contracts: Sequence[Contract], steps: Sequence[Step]) -> list[Contract]:
        self.tried = list(dict.fromkeys((*self.tried, *contracts)))
        return race(self._answers, contracts, [replace(step, photos=min(step.photos, self._photos)) for step in steps])


def rank(answers: Answers, tried: Sequence[Contract], best: Contract) -> tuple[GuessedContract, ...]:
    """Return all contracts, the best first: those that answered more photos before the others, then by score.

    Of contracts that give the network the same numbers, the first is shown and has the others.
    """
    counts = {contract: answers.answered(contract) for contract in tried}
    groups: dict[object, list[Contract]] = {}
    for contract in sorted(tried, key=lambda contract: (contract != best, -counts[contract])):
        groups.setdefault(answers.signature(contract, counts[contract]), []).append(contract)
    resamples = {count: Resamples(count, _RESAMPLES) for count in set(counts.values())}
    rows = [_row(answers, best, group, resamples[counts[group[0]]]) for group in groups.values()]
    first, *others = rows
    adjusted = holm([row.p_holm for row in others])
    judged = [
        replace(row, p_holm=p, worse=p <= _LEVEL and row.loss_excess.value > 0)
        for row, p in zip(others, adjusted, strict=True)
    ]
    return (first, *sorted(judged, key=lambda row: (-row.photos, row.photos * row.loss.value + rarity(row.contract))))


def _row(answers: Answers, best: Contract, group: Sequence[Contract], resamples: Resamples) -> GuessedContract:
    """Return the figures of a contract, with the uncorrected p-value as `p_holm`."""
    contract, count = group[0], answers.answered(group[0])
    labels = answers.photos.labels(count)
    own, leading = (answers.logits(each, count).argmax(axis=1) for each in (contract, best))
    wrong, right = (int(changed.sum()) for changed in changed_answers(leading, own, labels))
    losses, least = losses_of(answers, contract, count), losses_of(answers, best, count)
    resampled = resamples.means(np.stack([losses, losses - least], axis=1))
    below = float((resampled[:, 1] <= 0).mean())
    return GuessedContract(
        name=describe(contract),
        contract=contract,
        photos=count,
        top1=wilson(int((own == labels).sum()), count),
        loss=percentile(float(losses.mean()), resampled[:, 0]),
        drop=tango(wrong, right, count),
        mcnemar_p=mcnemar(wrong, right),
        loss_excess=percentile(float((losses - least).mean()), resampled[:, 1]),
        p_holm=min(1.0, 2 * max(1 / _RESAMPLES, min(below, 1 - below))),
        worse=False,
        same_pixels=tuple(group[1:]),
    )


def _check_better_than_chance(
    answers: Answers, ranking: Sequence[GuessedContract], subject: str, classes: Sequence[str]
) -> None:
    """Raise ModelError if the best contract is no better than chance; it names the classes that any contract has swapped."""
    best = ranking[0]
    if not no_better_than_chance(_confusion(answers, best)):
        return
    swapped = next((moves for row in ranking if (moves := _moves(answers, row, classes))), {})
    named = ", ".join(f"{truth} is predicted as {answer}" for truth, answer in list(swapped.items())[:_NAMED_MOVES])
    raise ModelError(
        f"{subject}: right on {best.top1.value:.1%} of {best.photos} photos with the best of {len(ranking)} contracts, no better "
        f"than chance; the order of its classes may differ from that of the folders{f' ({named})' if named else ''}: give it "
        "with --classes; or the photos are of another kind"
    )


def _moves(answers: Answers, row: GuessedContract, classes: Sequence[str]) -> dict[str, str]:
    """Return the classes that the answers with a contract have swapped, truth to answer; empty if there are none."""
    moves = permuted_classes(_confusion(answers, row))
    return {classes[truth]: classes[predicted] for truth, predicted in moves.items()}


def _confusion(answers: Answers, row: GuessedContract) -> NDArray[np.int_]:
    """Return the (K, K) counts of photos: rows are the truth, columns the answer."""
    logits = answers.logits(row.contract, row.photos)
    return LabelledAnswers.of(logits, answers.photos.labels(row.photos)).confusion()


def _opened(file: Path, num_classes: int, output: str) -> tuple[ImportedModel, Contract, list[int]]:
    """Return the model, the contract to start with, and the plausible sizes if the graph has none."""
    channels, height, width = input_shape(file)
    if height and width:
        start = first_contract(height, width, channels)
        return read_imported(file, num_classes, start, output), start, []
    sizes = [size for size in PLAUSIBLE_SIZES if (height or size) == size == (width or size)] or [height or width]
    starts = [first_contract(size, size, channels) for size in sizes]
    imported, start = _first_that_runs(file, num_classes, output, starts)
    runner = ImportedRunner(imported, start)
    return imported, start, [contract.height for contract in starts if _runs(runner.with_contract(contract), contract)]


def _first_that_runs(
    file: Path, num_classes: int, output: str, starts: Sequence[Contract]
) -> tuple[ImportedModel, Contract]:
    """Return the model and the first contract whose size it accepts. Raises the ModelError of the first one if there is none."""
    errors = []
    for start in starts:
        try:
            return read_imported(file, num_classes, start, output), start
        except ModelError as error:
            errors.append(error)
    raise errors[0]


def _runs(runner: ImportedRunner, contract: Contract) -> bool:
    try:
        runner.logits(np.zeros((1, *contract.shape), np.uint8))
    except ModelError:
        return False
    return True
