"""`vegrt trust`: learns on the validation split when the answers of every candidate can be trusted."""

from __future__ import annotations

import datetime
import itertools
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
from vegrt.evaluate.trust.foreign import HeldOut, LabelledFeatures, choose_score, held_out_distributions
from vegrt.evaluate.trust.reference import reference_of
from vegrt.evaluate.trust.risk import fit_abstention
from vegrt.evaluate.trust.temperature import calibration_figures, fit_temperature
from vegrt.infer.runtimes.candidates import Candidate, artifact_of
from vegrt.infer.runtimes.logits import softmax
from vegrt.infer.runtimes.runner import Answers
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
    added = _train_answers(bundle, train, collected) if train else None
    return trust_of(bundle, split.fingerprint(), collected, max_error=max_error, train=added)


def trust_of(
    bundle: Bundle,
    fingerprint: str,
    collected: PhotoAnswers,
    *,
    max_error: float,
    train: tuple[Answers, NDArray[np.int_]] | None = None,
) -> Trust:
    """Return what is known of the candidates from their answers to validation photos and to near misses.

    train: the answers of the first candidate that gives embeddings to train photos, with their labels.
    """
    shared = _distribution(collected, len(bundle.manifest.classes), train)
    rows = [_candidate(bundle, candidate, collected, shared.held_out, max_error) for candidate in collected.photos]
    packed = shared.packed if any(row.foreign.method in WITH_EMBEDDINGS for row in rows) else None
    return Trust(
        schema_version=version_of(rows, packed),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        data_fingerprint=fingerprint,
        photos=len(collected.labels),
        classes=tuple(bundle.manifest.classes),
        max_error=max_error,
        candidates=tuple(rows),
        embeddings=packed,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Distribution:
    """The distribution of the first candidate's features: on all photos, and without each fold. None without embeddings."""

    held_out: HeldOut
    packed: PackedEmbeddings | None = None


def _first_with_embeddings(collected: PhotoAnswers) -> Candidate | None:
    return next((each for each, answers in collected.photos.items() if answers.embeddings is not None), None)


def _train_answers(bundle: Bundle, train: Split, collected: PhotoAnswers) -> tuple[Answers, NDArray[np.int_]] | None:
    """Return the answers to train photos, drawn at random if there are many, and their labels; None without embeddings."""
    first = _first_with_embeddings(collected)
    if first is None:
        return None
    check_split(bundle, train)
    drawn = np.random.default_rng(0).permutation(len(train.photos))[:MOST_TRAIN_PHOTOS]
    photos = [train.photos[index] for index in sorted(drawn.tolist())]
    answered = collect_photo_answers(bundle, photos, [first], "Answering train photos")
    return answered.photos[first], answered.labels


def _distribution(
    collected: PhotoAnswers, classes: int, train: tuple[Answers, NDArray[np.int_]] | None
) -> _Distribution:
    """Return the distribution that all candidates share: their features hardly differ, and it is most of the file.

    Of the embedding alone or with the intermediate layer, with train photos or without: what lets the candidates tell near misses
    apart best. The embeddings of photos that a network was fitted to may lie too close together, and where quantization changes
    the intermediate layer much, it misleads.
    """
    first = _first_with_embeddings(collected)
    none = _Distribution(HeldOut(collected.folds))
    if first is None:
        return none
    answers, best = collected.photos[first], 0.0
    chosen: tuple[HeldOut, LabelledFeatures] | None = None
    for layers, with_train in itertools.product(range(1, len(answers.parts) + 1), (False, True) if train else (False,)):
        photos = LabelledFeatures.of(answers, collected.labels, layers)
        added = LabelledFeatures.of(*train, layers) if train and with_train else None
        held_out = held_out_distributions(photos, collected.folds, classes, added)
        if held_out.embeddings and (separation := _separation(collected, held_out)) > best:
            best, chosen = separation, (held_out, photos.with_others(added))
    if chosen is None:
        return none
    held_out, known = chosen
    packed = known.distribution(classes).packed(str(first))
    return _Distribution(held_out, replace(packed, train_photos=len(known.labels) - len(collected.labels)))


def _separation(collected: PhotoAnswers, held_out: HeldOut) -> float:
    """Return how well the candidates tell near misses from photos: the mean AUROC of the best score of each."""
    rules = (choose_score(answers, collected.near[each], held_out)[0] for each, answers in collected.photos.items())
    return float(np.mean([max(tried.auroc for tried in rule.tried) for rule in rules]))


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
