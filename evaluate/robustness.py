"""The robustness ladder: does quantization cost more when the photo is bad?

fp32 and its int8 candidates over the same photos, clean and under every corruption of `vegrt.evaluate.corruptions` at five
levels, each cell judged as a paired drop. The answer is the difference between the mean drop over all cells and the clean
one, bootstrapped over photos, because the cells of one photo are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Photo, Split, warn_unreadable
from vegrt.errors import DataError, VegrtError
from vegrt.evaluate.corruptions import CORRUPTIONS, Corruption
from vegrt.evaluate.paired import compare_top1
from vegrt.evaluate.resampling import RESAMPLES, Resamples, percentile
from vegrt.evaluate.statistics import CONFIDENCE, wilson
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.runtimes.candidates import Candidate, candidate_row, nothing_runs
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Runner
from vegrt.results.analysis import CorruptionLevels, ExtraDrop, Robustness, RobustnessRow
from vegrt.results.header import header_fields
from vegrt.terminal.progress import track

IMAGES = 300
SEED = 0
BATCH = 32


@dataclass(frozen=True, slots=True)
class Cell:
    """One corruption at one level; level 0 is the clean photo."""

    corruption: Corruption | None = None
    level: int = 0

    @property
    def name(self) -> str:
        """Return what result files call the corruption."""
        return self.corruption.name if self.corruption else "clean"

    @property
    def parameter(self) -> float | None:
        """Return the corruption's parameter at this level."""
        return self.corruption.levels[self.level - 1] if self.corruption else None

    def apply(self, pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        """Return the photo `name`, corrupted. The generator depends on photo and cell only, not on what else is run."""
        if self.corruption is None or self.parameter is None:
            return pixels
        random = np.random.default_rng([SEED, crc32(name.encode()), crc32(self.name.encode()), self.level])
        return self.corruption.apply(pixels, self.parameter, random)


CELLS = (Cell(), *(Cell(corruption, level) for corruption in CORRUPTIONS for level in range(1, 6)))


def robustness_candidates(chosen: Sequence[Candidate], bundle: Bundle) -> list[Candidate]:
    """Return the reference and the int8 candidates of those chosen. Raises VegrtError when there is no int8 among them."""
    if not chosen:
        raise nothing_runs(bundle)
    quantized = [one for one in chosen[1:] if one.variant.startswith("int8")]
    if not quantized:
        raise VegrtError(f"{bundle.path}: no int8 model to run; make it: vegrt export {bundle.path} --data DATA")
    return [chosen[0], *quantized]


def run_robustness(bundle: Bundle, split: Split, chosen: Sequence[Candidate], *, images: int = IMAGES) -> Robustness:
    """Return what corrupted photos cost each candidate. chosen: the first is the reference.

    images: at most so many photos, the same number of each class. Raises DataError when none is readable.
    """
    photos = sample(split, images)
    answers, kept, errors = _answers(bundle, split, photos, chosen)
    warn_unreadable(errors, len(photos))
    if not kept:
        raise DataError(f"{split.root}: none of {len(photos)} photos is readable; nothing to evaluate")
    labels = np.array([photos[index].label for index in kept])
    resamples = Resamples(len(kept))
    return Robustness(
        **header_fields(bundle, Robustness.KIND),
        split=split.name,
        data_fingerprint=split.fingerprint(),
        images=len(kept),
        unreadable=tuple(errors),
        seed=SEED,
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
        corruptions=tuple(CorruptionLevels(one.name, one.unit, one.levels) for one in CORRUPTIONS),
        candidates=tuple(candidate_row(bundle, candidate) for candidate in chosen),
        rows=tuple(
            _row(cell, candidate, answers[candidate][number], answers[chosen[0]][number], labels)
            for number, cell in enumerate(CELLS)
            for candidate in chosen
        ),
        summary=tuple(
            extra_drop(str(one), answers[chosen[0]] == labels, answers[one] == labels, resamples) for one in chosen[1:]
        ),
    )


def sample(split: Split, images: int) -> list[Photo]:
    """Return at most `images` photos (but one of each class), the same number of each, by a seeded draw, in the split's order."""
    each = max(1, images // len(split.classes))
    random = np.random.default_rng(SEED)
    labels = np.array([photo.label for photo in split.photos])
    drawn = [random.permutation(np.flatnonzero(labels == label))[:each] for label in range(len(split.classes))]
    return [split.photos[index] for index in sorted(np.concatenate(drawn).tolist())]


def extra_drop(key: str, reference: NDArray[np.bool_], candidate: NDArray[np.bool_], resamples: Resamples) -> ExtraDrop:
    """Return a candidate's mean drop on clean and on corrupted photos, and their difference.

    reference, candidate: (cells, N) right or not, the clean cell first.
    """
    lost = reference.astype(np.float64) - candidate  # (cells, N)
    columns = np.column_stack([lost[0], lost[1:].mean(axis=0)])
    means, drawn = columns.mean(axis=0), resamples.means(columns)
    clean, corrupted, extra = (
        percentile(value, column)
        for value, column in zip(
            (*means, means[1] - means[0]), (drawn[:, 0], drawn[:, 1], drawn[:, 1] - drawn[:, 0]), strict=True
        )
    )
    return ExtraDrop(candidate=key, clean_drop=clean, corrupted_drop=corrupted, extra_drop=extra)


def _answers(
    bundle: Bundle, split: Split, photos: list[Photo], chosen: Sequence[Candidate]
) -> tuple[dict[Candidate, NDArray[np.intp]], list[int], list[str]]:
    """Return each candidate's top-1 (cells, N), the positions of the N readable photos, and why others were skipped."""
    runners = {candidate: open_candidate(bundle, candidate) for candidate in chosen}
    parts: dict[Candidate, list[NDArray[np.intp]]] = {candidate: [] for candidate in chosen}
    kept: list[int] = []
    errors: list[str] = []
    decoded = batches([photo.path for photo in photos], bundle.manifest.contract, BATCH)
    for batch in track(decoded, "Climbing the robustness ladder", -(-len(photos) // BATCH)):
        kept += batch.indices
        errors += [reason for _, reason in batch.errors]
        names = [split.relative(photos[index]) for index in batch.indices]
        cells = list(_top1(runners, batch.images, names)) if names else []
        for candidate in chosen if cells else ():
            parts[candidate].append(np.stack([cell[candidate] for cell in cells]))
    return {one: np.concatenate(found, axis=1) for one, found in parts.items() if found}, kept, errors


def _top1(
    runners: Mapping[Candidate, Runner], images: NDArray[np.uint8], names: Sequence[str]
) -> Iterator[dict[Candidate, NDArray[np.intp]]]:
    """Yield, per cell, every candidate's (N,) answers to the corrupted images."""
    for cell in CELLS:
        worse = np.stack([cell.apply(image, name) for image, name in zip(images, names, strict=True)])
        yield {candidate: runner.logits(worse).argmax(axis=1) for candidate, runner in runners.items()}


def _row(
    cell: Cell,
    candidate: Candidate,
    top1: NDArray[np.intp],
    reference: NDArray[np.intp],
    labels: NDArray[np.int_],
) -> RobustnessRow:
    paired = compare_top1(reference, top1, labels)
    return RobustnessRow(
        corruption=cell.name,
        level=cell.level,
        parameter=cell.parameter,
        candidate=str(candidate),
        top1=wilson(int((top1 == labels).sum()), len(labels)),
        drop=paired.drop,
        flips=paired.flips,
        newly_wrong=paired.newly_wrong,
        newly_right=paired.newly_right,
    )
