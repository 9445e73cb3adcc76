"""`vegrt trust`: learns on the validation split when the answers of every candidate can be trusted."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import DataError
from vegrt.evaluate.evaluate import check_split
from vegrt.evaluate.resampling import Resamples
from vegrt.evaluate.statistics import wilson
from vegrt.evaluate.trust.answers import PhotoAnswers, collect_photo_answers
from vegrt.evaluate.trust.conformal import fit_sets
from vegrt.evaluate.trust.distribution import fit_embeddings
from vegrt.evaluate.trust.foreign import HeldOut, choose_score, held_out_distributions
from vegrt.evaluate.trust.risk import fit_abstention
from vegrt.evaluate.trust.temperature import calibration_figures, fit_temperature
from vegrt.infer.runtimes.candidates import Candidate, artifact_of
from vegrt.infer.runtimes.logits import softmax
from vegrt.infer.trust.record import WITH_EMBEDDINGS, CandidateTrust, PackedEmbeddings, Trust

log = logging.getLogger(__name__)

MIN_PHOTOS = 30


def fit_trust(bundle: Bundle, split: Split, chosen: Sequence[Candidate], *, max_error: float) -> Trust:
    """Return what is known of the candidates from the photos of the validation split.

    max_error: largest share of errors among accepted answers. Raises DataError for another split, for classes that differ from
    the bundle's and for fewer than MIN_PHOTOS readable photos.
    """
    if split.name != "validation":
        raise DataError(
            f"{split.root}: the {split.name} split; expected validation: what is learned on test proves nothing there"
        )
    check_split(bundle, split)
    collected = collect_photo_answers(
        bundle, split.photos, chosen, "Answering validation photos", with_near_misses=True
    )
    if len(collected.labels) < MIN_PHOTOS:
        raise DataError(f"{split.root}: {len(collected.labels)} readable photos; trust needs at least {MIN_PHOTOS}")
    return trust_of(bundle, split.fingerprint(), collected, max_error=max_error)


def trust_of(bundle: Bundle, fingerprint: str, collected: PhotoAnswers, *, max_error: float) -> Trust:
    """Return what is known of the candidates from their answers to validation photos and to near misses."""
    shared = _distribution(collected, len(bundle.manifest.classes))
    rows = [_candidate(bundle, candidate, collected, shared.held_out, max_error) for candidate in collected.photos]
    needed = any(row.foreign.method in WITH_EMBEDDINGS for row in rows)
    return Trust(
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        data_fingerprint=fingerprint,
        photos=len(collected.labels),
        classes=tuple(bundle.manifest.classes),
        max_error=max_error,
        candidates=tuple(rows),
        embeddings=shared.packed if needed else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Distribution:
    """The distribution of the first candidate's embeddings: on all photos, and without each fold. None without embeddings."""

    held_out: HeldOut
    packed: PackedEmbeddings | None = None


def _distribution(collected: PhotoAnswers, classes: int) -> _Distribution:
    """Return the distribution that all candidates share: their embeddings hardly differ, and it is most of the file."""
    for candidate, answers in collected.photos.items():
        if answers.embeddings is not None:
            held_out = held_out_distributions(answers.embeddings, collected.labels, collected.folds, classes)
            if held_out.embeddings:
                whole = fit_embeddings(answers.embeddings, collected.labels, classes)
                return _Distribution(held_out, whole.packed(str(candidate)))
    return _Distribution(HeldOut(collected.folds, ()))


def _candidate(
    bundle: Bundle, candidate: Candidate, collected: PhotoAnswers, held_out: HeldOut, max_error: float
) -> CandidateTrust:
    answers, labels = collected.photos[candidate], collected.labels
    logits, resamples = answers.logits, Resamples(len(labels))
    temperature = fit_temperature(logits, labels)
    foreign, scores = choose_score(answers, collected.near[candidate], held_out)
    probabilities = softmax((logits / np.float64(temperature)).astype(np.float32))
    right: NDArray[np.bool_] = logits.argmax(axis=1) == labels
    return CandidateTrust(
        key=str(candidate),
        artifact_sha256=artifact_of(bundle, candidate).sha256,
        top1=wilson(int(right.sum()), len(right)),
        temperature=temperature,
        before=calibration_figures(logits, labels, 1.0, resamples),
        after=calibration_figures(logits, labels, temperature, resamples),
        sets=fit_sets(probabilities, labels),
        foreign=foreign,
        abstention=fit_abstention(probabilities.max(axis=1), right, scores <= foreign.threshold, max_error),
    )
