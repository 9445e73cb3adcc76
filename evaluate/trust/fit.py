"""`vegrt trust`: learns on the validation split when the answers of every candidate can be trusted."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from vegrt.evaluate.trust.foreign import HeldOut, LabelledEmbeddings, choose_score, held_out_distributions
from vegrt.evaluate.trust.reference import reference_of
from vegrt.evaluate.trust.risk import fit_abstention
from vegrt.evaluate.trust.temperature import calibration_figures, fit_temperature
from vegrt.infer.runtimes.candidates import Candidate, artifact_of
from vegrt.infer.runtimes.logits import softmax
from vegrt.infer.trust.record import WITH_EMBEDDINGS, CandidateTrust, PackedEmbeddings, Trust, version_of

log = logging.getLogger(__name__)

MIN_PHOTOS = 30
MOST_TRAIN_PHOTOS = 3000


def fit_trust(
    bundle: Bundle, split: Split, chosen: Sequence[Candidate], *, max_error: float, train: Split | None = None
) -> Trust:
    """Return what is known of the candidates from the photos of the validation split.

    max_error: largest share of errors among accepted answers. train: its photos, at most MOST_TRAIN_PHOTOS, may help to know how
    embeddings of the classes are distributed; thresholds and probabilities are of validation photos alone.
    Raises DataError for another split, for classes that differ from the bundle's and for fewer than MIN_PHOTOS readable photos.
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
    added = _train_embeddings(bundle, train, collected) if train else None
    return trust_of(bundle, split.fingerprint(), collected, max_error=max_error, train=added)


def trust_of(
    bundle: Bundle,
    fingerprint: str,
    collected: PhotoAnswers,
    *,
    max_error: float,
    train: LabelledEmbeddings | None = None,
) -> Trust:
    """Return what is known of the candidates from their answers to validation photos and to near misses.

    train: of the first candidate that gives embeddings.
    """
    shared = _distribution(collected, len(bundle.manifest.classes), train)
    rows = [_candidate(bundle, candidate, collected, shared.held_out, max_error) for candidate in collected.photos]
    needed = any(row.foreign.method in WITH_EMBEDDINGS for row in rows)
    return Trust(
        schema_version=version_of(rows),
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


def _first_with_embeddings(collected: PhotoAnswers) -> tuple[Candidate, LabelledEmbeddings] | None:
    for candidate, answers in collected.photos.items():
        if answers.embeddings is not None:
            return candidate, LabelledEmbeddings(answers.embeddings, collected.labels)
    return None


def _train_embeddings(bundle: Bundle, train: Split, collected: PhotoAnswers) -> LabelledEmbeddings | None:
    """Return the embeddings of train photos, drawn at random if there are many; None where no candidate gives any."""
    first = _first_with_embeddings(collected)
    if first is None:
        return None
    check_split(bundle, train)
    drawn = np.random.default_rng(0).permutation(len(train.photos))[:MOST_TRAIN_PHOTOS]
    photos = [train.photos[index] for index in sorted(drawn.tolist())]
    answered = collect_photo_answers(bundle, photos, [first[0]], "Answering train photos")
    embeddings = answered.photos[first[0]].embeddings
    return None if embeddings is None else LabelledEmbeddings(embeddings, answered.labels)


def _distribution(collected: PhotoAnswers, classes: int, train: LabelledEmbeddings | None) -> _Distribution:
    """Return the distribution that all candidates share: their embeddings hardly differ, and it is most of the file.

    With train photos if that tells near misses apart better: those of a network that was fitted to them lie too close together.
    """
    first = _first_with_embeddings(collected)
    if first is None:
        return _Distribution(HeldOut(collected.folds, ()))
    candidate, photos = first
    alone = held_out_distributions(photos, collected.folds, classes)
    choices: list[tuple[LabelledEmbeddings | None, HeldOut]] = [(None, alone)]
    if train is not None and alone.embeddings:
        choices.append((train, held_out_distributions(photos, collected.folds, classes, train)))

    def separation(held_out: HeldOut) -> float:
        rule, _ = choose_score(collected.photos[candidate], collected.near[candidate], held_out)
        return max(tried.auroc for tried in rule.tried if tried.method in WITH_EMBEDDINGS)

    added, held_out = choices[0] if len(choices) == 1 else max(choices, key=lambda choice: separation(choice[1]))
    if not held_out.embeddings:
        return _Distribution(held_out)
    both = photos.with_others(added)
    packed = fit_embeddings(both.embeddings, both.labels, classes).packed(str(candidate))
    return _Distribution(held_out, replace(packed, train_photos=len(added.labels) if added else 0))


def _candidate(
    bundle: Bundle, candidate: Candidate, collected: PhotoAnswers, held_out: HeldOut, max_error: float
) -> CandidateTrust:
    answers, labels = collected.photos[candidate], collected.labels
    logits, resamples = answers.logits, Resamples(len(labels))
    temperature = fit_temperature(logits, labels)
    foreign, scores = choose_score(answers, collected.near[candidate], held_out)
    probabilities = softmax((logits / np.float64(temperature)).astype(np.float32))
    right: NDArray[np.bool_] = logits.argmax(axis=1) == labels
    confidence, scores = probabilities.max(axis=1), scores - foreign.threshold
    abstention = fit_abstention(confidence, right, scores <= 0, max_error)
    return CandidateTrust(
        key=str(candidate),
        artifact_sha256=artifact_of(bundle, candidate).sha256,
        top1=wilson(int(right.sum()), len(right)),
        temperature=temperature,
        before=calibration_figures(logits, labels, 1.0, resamples),
        after=calibration_figures(logits, labels, temperature, resamples),
        sets=fit_sets(probabilities, labels),
        foreign=foreign,
        abstention=abstention,
        reference=reference_of(logits.argmax(axis=1), confidence, scores, abstention),
    )
