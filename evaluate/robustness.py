"""Robustness of quantized models: whether int8 loses more accuracy on corrupted photos than on clean ones.

Runs fp32 and its int8 candidates on the same photos, clean and under every corruption of `vegrt.evaluate.corruptions` at five
levels, and computes a paired drop for each corruption and level. The result is the mean drop on corrupted photos minus the drop
on clean photos, bootstrapped over photos, because the corrupted versions of one photo are not independent.
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
from vegrt.infer.runtimes.candidates import Candidate, candidate_row, nothing_runs, reference_candidate
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Runner
from vegrt.results.analysis import CorruptionLevels, ExtraDrop, Robustness, RobustnessRow
from vegrt.results.header import header_fields
from vegrt.terminal.progress import track

IMAGES = 300
SEED = 0
BATCH = 32


@dataclass(frozen=True, slots=True)
class CorruptionLevel:
    """One corruption at one level to apply to photos; level 0 is the clean photo."""

    corruption: Corruption | None = None
    level: int = 0

    @property
    def name(self) -> str:
        """Return the corruption's name in result files."""
        return self.corruption.name if self.corruption else "clean"

    @property
    def parameter(self) -> float | None:
        """Return the corruption's parameter at this level."""
        return self.corruption.levels[self.level - 1] if self.corruption else None

    def apply(self, pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        """Return the corrupted photo. name: of the photo; seeds the generator together with corruption and level."""
        if self.corruption is None or self.parameter is None:
            return pixels
        random = np.random.default_rng([SEED, crc32(name.encode()), crc32(self.name.encode()), self.level])
        return self.corruption.apply(pixels, self.parameter, random)


LEVELS = (
    CorruptionLevel(),
    *(CorruptionLevel(corruption, level) for corruption in CORRUPTIONS for level in range(1, 6)),
)


def robustness_candidates(chosen: Sequence[Candidate], bundle: Bundle) -> list[Candidate]:
    """Return the reference and the int8 candidates among the chosen ones. Raises VegrtError if there is no int8."""
    reference = reference_candidate(bundle, chosen)
    if reference is None:
        raise nothing_runs(bundle)
    quantized = [candidate for candidate in chosen if candidate.variant.startswith("int8")]
    if not quantized:
        raise VegrtError(f"{bundle.path}: no int8 model to run; make it: vegrt export {bundle.path} --data DATA")
    return [reference, *quantized]


def run_robustness(bundle: Bundle, split: Split, chosen: Sequence[Candidate], *, images: int = IMAGES) -> Robustness:
    """Return each candidate's accuracy drop on corrupted photos. chosen: the first is the reference.

    images: maximum number of photos, the same number of each class. Raises DataError when none is readable.
    """
    photos = sample(split, images)
    answers, readable, errors = _answers(bundle, split, photos, chosen)
    warn_unreadable(errors, len(photos))
    if not readable:
        raise DataError(f"{split.root}: none of {len(photos)} photos is readable; nothing to evaluate")
    labels = np.array([photos[index].label for index in readable])
    reference, resamples = answers[chosen[0]], Resamples(len(readable))
    return Robustness(
        **header_fields(bundle, Robustness.KIND),
        split=split.name,
        data_fingerprint=split.fingerprint(),
        images=len(readable),
        unreadable=tuple(errors),
        seed=SEED,
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
        corruptions=tuple(
            CorruptionLevels(corruption.name, corruption.unit, corruption.levels) for corruption in CORRUPTIONS
        ),
        candidates=tuple(candidate_row(bundle, candidate) for candidate in chosen),
        rows=tuple(
            _row(level, candidate, answers[candidate][index], reference[index], labels)
            for index, level in enumerate(LEVELS)
            for candidate in chosen
        ),
        summary=tuple(
            extra_drop(str(candidate), reference == labels, answers[candidate] == labels, resamples)
            for candidate in chosen[1:]
        ),
    )


def sample(split: Split, images: int) -> list[Photo]:
    """Return at most `images` photos, the same number of each class but at least one, drawn with a seed, in the split's order."""
    per_class = max(1, images // len(split.classes))
    random = np.random.default_rng(SEED)
    labels = np.array([photo.label for photo in split.photos])
    drawn = [random.permutation(np.flatnonzero(labels == label))[:per_class] for label in range(len(split.classes))]
    return [split.photos[index] for index in sorted(np.concatenate(drawn).tolist())]


def extra_drop(key: str, reference: NDArray[np.bool_], candidate: NDArray[np.bool_], resamples: Resamples) -> ExtraDrop:
    """Return a candidate's mean drop on clean and on corrupted photos, and their difference.

    reference, candidate: (levels, N) right or not, the clean photos first.
    """
    losses = reference.astype(np.float64) - candidate  # (levels, N)
    columns = np.column_stack([losses[0], losses[1:].mean(axis=0)])
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
    """Return each candidate's top-1 (levels, N), the positions of the N readable photos, and the errors of the others."""
    runners = {candidate: open_candidate(bundle, candidate) for candidate in chosen}
    parts: dict[Candidate, list[NDArray[np.intp]]] = {candidate: [] for candidate in chosen}
    readable: list[int] = []
    errors: list[str] = []
    decoded = batches([photo.path for photo in photos], bundle.manifest.contract, BATCH)
    for batch in track(decoded, "Measuring robustness", -(-len(photos) // BATCH)):
        readable += batch.indices
        errors += [reason for _, reason in batch.errors]
        names = [split.relative(photos[index]) for index in batch.indices]
        by_level = list(_top1(runners, batch.images, names)) if names else []
        for candidate in chosen if by_level else ():
            parts[candidate].append(np.stack([top1[candidate] for top1 in by_level]))
    answers = {candidate: np.concatenate(blocks, axis=1) for candidate, blocks in parts.items() if blocks}
    return answers, readable, errors


def _top1(
    runners: Mapping[Candidate, Runner], images: NDArray[np.uint8], names: Sequence[str]
) -> Iterator[dict[Candidate, NDArray[np.intp]]]:
    """Yield, for each of LEVELS, every candidate's (N,) top-1 for the corrupted images."""
    for level in LEVELS:
        corrupted = np.stack([level.apply(image, name) for image, name in zip(images, names, strict=True)])
        yield {candidate: runner.logits(corrupted).argmax(axis=1) for candidate, runner in runners.items()}


def _row(
    level: CorruptionLevel,
    candidate: Candidate,
    top1: NDArray[np.intp],
    reference: NDArray[np.intp],
    labels: NDArray[np.int_],
) -> RobustnessRow:
    paired = compare_top1(reference, top1, labels)
    return RobustnessRow(
        corruption=level.name,
        level=level.level,
        parameter=level.parameter,
        candidate=str(candidate),
        top1=wilson(int((top1 == labels).sum()), len(labels)),
        drop=paired.drop,
        flips=paired.flips,
        newly_wrong=paired.newly_wrong,
        newly_right=paired.newly_right,
    )
