"""The answers of candidates to photos, with embeddings where their runtime gives them, in one pass over the photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Photo, warn_unreadable
from vegrt.errors import DataError, ModelError
from vegrt.evaluate.trust.near_misses import near_misses
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.open import gives_embeddings, open_candidate
from vegrt.infer.runtimes.runner import Answers, BundleRunner
from vegrt.terminal.progress import track

FOLDS = 25  # with 5, a fold's photos are scored by far fewer, and the threshold kept 97 % of test photos instead of 95
_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class PhotoAnswers:
    """The answers of every candidate to N photos.

    labels: (N,). folds: (N,), 0 to FOLDS - 1; a near miss is made of photos of one fold. photos, near: to the photos, and to one
    near miss of each, if they were requested.
    """

    labels: NDArray[np.int_]
    folds: NDArray[np.intp]
    photos: Mapping[Candidate, Answers]
    near: Mapping[Candidate, Answers]


@dataclass(slots=True)
class _Parts:
    """The answers of one candidate, batch by batch."""

    logits: list[NDArray[np.float32]] = field(default_factory=list)
    layers: list[tuple[NDArray[np.float32], ...]] = field(default_factory=list)

    def add(self, answers: Answers, subject: str) -> None:
        if not np.isfinite(answers.logits).all():
            raise ModelError(f"{subject} gives logits that are not finite; export it again")
        self.logits.append(answers.logits.copy())
        self.layers.append(tuple(layer.copy() for layer in answers.layers))

    def joined(self) -> Answers:
        return Answers(np.concatenate(self.logits), *map(np.concatenate, zip(*self.layers, strict=True)))


def collect_photo_answers(
    bundle: Bundle,
    photos: Sequence[Photo],
    chosen: Sequence[Candidate],
    subject: str,
    *,
    with_near_misses: bool = False,
) -> PhotoAnswers:
    """Return the answers of candidates to all readable photos, in an order that mixes the classes; each is decoded once.

    subject: of what is shown while it runs, and of errors. Raises DataError when no photo is readable, ModelError for logits
    that are not finite.
    """
    runners = open_runners(bundle, chosen)
    random = np.random.default_rng(0)
    mixed = [photos[index] for index in random.permutation(len(photos))]
    size = max(1, min(_BATCH, -(-len(mixed) // FOLDS)))
    answers, near = {candidate: _Parts() for candidate in chosen}, {candidate: _Parts() for candidate in chosen}
    labels, folds, errors = list[int](), list[int](), list[str]()
    decoded = batches([photo.path for photo in mixed], bundle.manifest.contract, size)
    for number, batch in enumerate(track(decoded, subject, -(-len(mixed) // size))):
        errors += [reason for _, reason in batch.errors]
        if not batch.indices:
            continue
        own = [mixed[index].label for index in batch.indices]
        labels += own
        folds += [number % FOLDS] * len(own)
        made = near_misses(batch.images, np.array(own), random) if with_near_misses else None
        for candidate, runner in runners.items():
            place = f"{bundle.path}: {candidate}"
            answers[candidate].add(runner.answers(batch.images), place)
            if made is not None:
                near[candidate].add(runner.answers(made), place)
    warn_unreadable(errors, len(mixed))
    if not labels:
        raise DataError(f"{subject}: none of {len(mixed)} photos is readable; expected photos of the classes")
    return PhotoAnswers(np.array(labels), np.array(folds), _joined(answers), _joined(near) if with_near_misses else {})


def open_runners(bundle: Bundle, chosen: Sequence[Candidate]) -> dict[Candidate, BundleRunner]:
    """Return the candidates loaded, for embeddings where their runtime gives them."""
    return {
        candidate: open_candidate(bundle, candidate, embeddings=gives_embeddings(bundle, candidate))
        for candidate in chosen
    }


def _joined(parts: Mapping[Candidate, _Parts]) -> dict[Candidate, Answers]:
    return {candidate: own.joined() for candidate, own in parts.items()}
