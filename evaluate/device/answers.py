"""The answers of another device as columns in the order of the split's photos, from a file of docs/answers.md.

The device is the judge: what it answered is compared with fp32 as a candidate of the bundle is, whatever program made the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import DataError, VegrtError
from vegrt.evaluate.device.formats import read_rows
from vegrt.evaluate.device.match import PhotoMatcher
from vegrt.evaluate.device.rows import AnswerRow, shown
from vegrt.evaluate.figures import LabelledAnswers
from vegrt.files.hashing import sha256_of
from vegrt.files.text import printable
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.results.common import ANSWERS, AnswerKind, AnswersRecord, CandidateRow, StatedSpeed

_LEAST_PROBABILITY = 1e-12  # a device that rounds to float16 writes 0 for less than 6e-8
_SUM_TOLERANCE = 0.02  # of 1,000 probabilities in float16, or rounded to four decimals
_TIE = 1e-4  # a label whose score is no further below the highest counts as the best: scores are rounded in files
_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True, eq=False)
class DeviceAnswers:
    """The answers of one device to the P photos of a split, in the split's order.

    name: of the device. top1: (P,) class indices; -1 for photos without an answer, which cannot be decoded here. logits: (P, K),
    or logarithms of probabilities; None for top-1 alone. probability, margin: (P,), where a file with top-1 alone has them.
    """

    name: str
    record: AnswersRecord
    size_bytes: int
    classes: int
    top1: NDArray[np.intp]
    logits: NDArray[np.float32] | None = None
    probability: NDArray[np.float64] | None = None
    margin: NDArray[np.float64] | None = None

    def __str__(self) -> str:
        """Return the device's name, which is the key in result files."""
        return self.name

    def labelled(
        self, photos: Sequence[int], labels: NDArray[np.int_], reference: NDArray[np.float32] | None
    ) -> LabelledAnswers:
        """Return the answers to N photos, given by position in the split. reference: fp32's (N, K) logits of the same photos."""
        rows = np.asarray(photos, np.intp)
        if self.logits is not None:
            return replace(LabelledAnswers.of(self.logits[rows], labels, reference), top1=self.top1[rows])
        return LabelledAnswers(
            top1=self.top1[rows],
            labels=labels,
            probability=None if self.probability is None else self.probability[rows],
            margin=None if self.margin is None else self.margin[rows],
            rank=None,
            nll=None,
            brier=None,
            divergence=None,
            classes=self.classes,
        )

    def row(self) -> CandidateRow:
        """Return the fields that the device's row in a result begins with."""
        return CandidateRow(
            key=self.name,
            variant=ANSWERS,
            runtime=ANSWERS,
            device=self.name,
            artifact_sha256=self.record.sha256,
            size_bytes=self.size_bytes,
            answers=self.record,
        )


AnswerSource = Candidate | DeviceAnswers  # who answered; its text is the key in result files


def read_devices(
    files: Sequence[Path], names: Sequence[str], bundle: Bundle, split: Split, taken: Sequence[str] = ()
) -> list[DeviceAnswers]:
    """Return the answers of all devices. names: of the first devices; the others are called as their files.

    taken: keys that a device cannot have. Raises VegrtError for names without a file, invalid and repeated names, and DataError
    as `read_device` does.
    """
    if len(names) > len(files):
        raise VegrtError(f"--device-name {names[len(files)]!r}: no --answers file for it; expected one of each")
    paired = [*names, *(file.stem for file in files[len(names) :])]
    for place, name in enumerate(paired):
        if not name.strip() or len(name) > _NAME_LENGTH or name != printable(name):
            raise VegrtError(f"--device-name {shown(name)}: expected 1 to {_NAME_LENGTH} printable characters")
        if name in taken or name in paired[:place]:
            raise VegrtError(f"--device-name {name!r}: is taken by another row; choose another name")
    return [read_device(file, name, bundle, split) for file, name in zip(files, paired, strict=True)]


def read_device(file: Path, name: str, bundle: Bundle, split: Split) -> DeviceAnswers:
    """Return the answers in a file, matched with the photos of a split.

    Raises DataError for content that is not as docs/answers.md says: photos that are unknown, missing or there twice, numbers
    that are not finite, classes or indices that the bundle does not have.
    """
    matcher, rows = PhotoMatcher(split, file), list[AnswerRow]()
    for row in read_rows(file, split.classes, len(split)):
        matcher.add(row)
        rows.append(row)
    reader = _Reader(file, split, matcher, rows, matcher.finish(bundle.manifest.contract))
    kind, scores = reader.scores()
    top1 = reader.top1(scores)
    probability, margin = reader.lead() if scores is None else (None, None)
    speed = reader.speed()
    record = AnswersRecord(file=printable(file.name)[:500], sha256=sha256_of(file), kind=kind, speed=speed)
    return DeviceAnswers(
        name, record, max(1, file.stat().st_size), len(split.classes), top1, scores, probability, margin
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Rows that are matched, as columns. places: the row of each of the P photos; -1 without one."""

    file: Path
    split: Split
    matcher: PhotoMatcher
    rows: Sequence[AnswerRow]
    places: NDArray[np.intp]

    def scores(self) -> tuple[AnswerKind, NDArray[np.float32] | None]:
        """Return the kind of answers, and (P, K) logits or logarithms of probabilities; 0 for photos without an answer."""
        answered = [(index, row) for index, row in self._matched() if row.scores is not None]
        if not answered:
            return "top1", None
        if len(answered) < int((self.places >= 0).sum()):
            raise self._error(f"{len(answered):,} of {len(self.rows):,} rows have scores; expected all or none")
        scores = np.zeros((len(self.split), len(self.split.classes)), np.float32)
        for index, row in answered:
            scores[index] = row.scores
        kinds = {row.score for _, row in answered}
        if len(kinds) > 1:
            raise self._error("has logits in some rows and probabilities in others; expected one of them")
        sums = scores.sum(axis=1, dtype=np.float64)  # no float32 is so large that the sum is infinite
        self._refuse(~np.isfinite(sums), "answers of {count} photos are not finite")
        if kinds == {"logit"}:
            return "logits", scores
        present = self.places >= 0
        invalid = (scores.min(axis=1) < 0) | (np.abs(sums - 1) > _SUM_TOLERANCE)
        self._refuse(
            invalid & present,
            "probabilities of {count} photos are below 0 or do not sum to 1; logits have columns logit_0 …",
        )
        return "probabilities", np.log(np.maximum(scores, np.float32(_LEAST_PROBABILITY)))

    def top1(self, scores: NDArray[np.float32] | None) -> NDArray[np.intp]:
        """Return (P,) class indices: of the highest scores, and of the labels without scores."""
        labels = self._labels()
        if scores is None:
            if labels is None:
                raise self._error("has rows without a label; expected one in each")
            return labels
        best = scores.argmax(axis=1)
        if labels is None:
            return np.where(self.places >= 0, best, -1)
        rows = np.arange(len(scores))
        contradicting = (self.places >= 0) & (scores[rows, labels] < scores[rows, best] - _TIE)
        if contradicting.any():
            first = int(contradicting.argmax())
            label, highest = (self.split.classes[place] for place in (labels[first], best[first]))
            raise self._error(
                f"{int(contradicting.sum()):,} labels are not the class with the highest score, such as of "
                f"{self.matcher.name_of(first)}: label {label}, highest {highest}; are the scores in the bundle's class order?"
            )
        return labels

    def lead(self) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """Return (P,) probabilities of the answers, and their margins over the second best class; None unless all are there."""
        probability = self._column("probability")
        if probability is None:
            return None, None
        self._refuse((probability < 0) | (probability > 1), "probabilities of {count} photos are not between 0 and 1")
        second = self._column("second")
        if second is None:
            return probability, None
        self._refuse(
            (second < 0) | (second > probability), "second probabilities of {count} photos are above the first"
        )
        return probability, probability - second

    def speed(self) -> StatedSpeed | None:
        """Return the speed that the file states; None without latencies."""
        latencies = self._numbers("latency_ms")
        if not len(latencies):
            return None
        if not (np.isfinite(latencies).all() and latencies.min() > 1e-9 and latencies.max() < 1e12):
            raise self._error("has a latency_ms that is not a positive number")
        rates = self._numbers("images_per_s")
        if len(rates) and not (np.isfinite(rates).all() and rates.min() > 1e-9 and rates.max() < 1e18):
            raise self._error("has an images_per_s that is not a positive number")
        p50, p95 = np.quantile(latencies, (0.5, 0.95))
        return StatedSpeed(
            photos=len(latencies),
            p50_ms=float(p50),
            p95_ms=float(p95),
            images_per_s=float(np.median(rates)) if len(rates) else None,
        )

    def _labels(self) -> NDArray[np.intp] | None:
        """Return (P,) class indices of the labels, -1 for photos without an answer; None unless every row has a label."""
        names = {index: row.label for index, row in self._matched()}
        if not all(names.values()):
            return None
        places = {name: place for place, name in enumerate(self.split.classes)}
        places |= {f"'{name}": place for name, place in places.items()}  # as CSV files of vegrt write =SUM
        if not places.keys() & set(names.values()):
            places = {str(place): place for place in range(len(self.split.classes))}
        labels = np.full(len(self.split), -1, np.intp)
        unknown = [index for index, name in names.items() if name not in places]
        if unknown:
            raise self._error(
                f"{len(unknown):,} labels are no class of the bundle, such as {shown(names[unknown[0]])} of "
                f"{self.matcher.name_of(unknown[0])}; expected a class name, or an index from 0 to {len(self.split.classes) - 1}"
            )
        for index, name in names.items():
            labels[index] = places[name]
        return labels

    def _column(self, name: str) -> NDArray[np.float64] | None:
        """Return a (P,) column of numbers, 0 for photos without an answer; None unless every row has one."""
        values = {index: getattr(row, name) for index, row in self._matched()}
        if any(value is None for value in values.values()):
            return None
        column = np.zeros(len(self.split))
        column[list(values)] = list(values.values())
        self._refuse(~np.isfinite(column), f"{name} of {{count}} photos is not finite")
        return column

    def _numbers(self, name: str) -> NDArray[np.float64]:
        values = (getattr(row, name) for _, row in self._matched())
        return np.array([value for value in values if value is not None], np.float64)

    def _matched(self) -> Iterator[tuple[int, AnswerRow]]:
        """Yield photo and row, for each photo with an answer."""
        return ((index, self.rows[row]) for index, row in enumerate(self.places.tolist()) if row >= 0)

    def _refuse(self, faulty: NDArray[np.bool_], sentence: str) -> None:
        if faulty.any():
            first = self.matcher.name_of(int(faulty.argmax()))
            raise self._error(f"{sentence.format(count=f'{int(faulty.sum()):,}')}, such as of {first}")

    def _error(self, reason: str) -> DataError:
        return DataError(f"{self.file}: {reason}; see docs/answers.md")
