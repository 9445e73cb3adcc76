from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import call
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.dataset.photos import read_split
from vegrt.errors import DataError, FormatError
from vegrt.evaluate.trust.answers import FOLDS, PhotoAnswers
from vegrt.evaluate.trust.distribution import EXCESS_SHARE, fit_embeddings
from vegrt.evaluate.trust.fit import fit_trust, trust_of
from vegrt.evaluate.trust.foreign import HeldOut, LabelledFeatures, auroc, choose_score, held_out_distributions
from vegrt.evaluate.trust.near_misses import near_misses
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.trust.embeddings import Embeddings, normalized
from vegrt.infer.trust.record import TWO_NEIGHBOURS, WITH_EMBEDDINGS, PackedArray, Trust, version_of
from vegrt.infer.trust.scores import foreign_scores
from vegrt.infer.trust.store import load_trust

CHOSEN = [Candidate("fp32", "onnxruntime"), Candidate("int8-cpu", "onnxruntime")]


def test_the_file_in_the_bundle_is_what_was_learned(copied: Bundle, photos: Path) -> None:
    told = call("trust", str(copied.path), "--data", str(photos), "--variant", "fp32", "--max-error", "20%", "--json")
    assert told.exit_code == 0, told.stderr
    printed = json.loads(told.stdout)
    bundle = open_bundle(copied.path)
    trust = load_trust(bundle)
    assert trust is not None
    assert (trust.photos, trust.max_error, trust.classes) == (48, 0.2, tuple(bundle.manifest.classes))
    assert [row["key"] for row in printed["candidates"]] == [row.key for row in trust.candidates]
    assert trust.candidates[0].artifact_sha256 == bundle.artifact("model", "fp32").sha256
    assert Trust.from_dict(json.loads(json.dumps(trust.to_dict()))) == trust
    needed = {(rule.coverage, rule.photos_needed, rule.threshold is None) for rule in trust.candidates[0].sets}
    assert needed == {(0.9, 9, False), (0.95, 19, False), (0.99, 99, True)}


def test_only_the_validation_split_teaches(bundle: Bundle, photos: Path) -> None:
    with pytest.raises(DataError, match="the test split; expected validation"):
        fit_trust(bundle, read_split(photos, "test"), CHOSEN, max_error=0.01)


def test_every_candidate_has_rules_of_its_own(bundle: Bundle, photos: Path) -> None:
    split = read_split(photos, "validation")
    trust = fit_trust(bundle, split, CHOSEN, max_error=0.01)
    assert [row.key for row in trust.candidates] == ["fp32/onnxruntime", "int8-cpu/onnxruntime"]
    assert trust.candidates[0].artifact_sha256 != trust.candidates[1].artifact_sha256
    for row in trust.candidates:
        assert [tried.method for tried in row.foreign.tried][-3:] == [*WITH_EMBEDDINGS]
        assert row.abstention.threshold is None  # 299 are needed
        assert 0.93 < row.foreign.kept <= 0.98
    assert trust.embeddings is not None
    assert trust.embeddings.key == "fp32/onnxruntime"
    few = replace(split, photos=split.photos[:10])
    with pytest.raises(DataError, match="10 readable photos; trust needs at least 30"):
        fit_trust(bundle, few, CHOSEN, max_error=0.01)


def test_train_photos_are_used_only_where_they_tell_near_misses_apart_better(bundle: Bundle) -> None:
    random = np.random.default_rng(1)
    classes = len(bundle.manifest.classes)
    centres = random.gamma(1.0, 1.0, (classes, 24))

    def drawn(count: int) -> np.ndarray:
        noise = random.normal(0, 0.8, (count, 24))
        return np.abs(centres[np.arange(count) % classes] + noise).astype(np.float32)

    def answered(embeddings: np.ndarray) -> tuple[Answers, np.ndarray]:
        labels = np.arange(len(embeddings)) % classes
        return Answers(5 * np.eye(classes, dtype=np.float32)[labels], embeddings), labels

    photos, labels = answered(drawn(60))
    others = (drawn(60) + np.roll(drawn(60), 1, axis=0)) / np.float32(2)  # of different classes
    near = Answers(photos.logits, others)
    collected = PhotoAnswers(labels, np.arange(60) % FOLDS, {CHOSEN[0]: photos}, {CHOSEN[0]: near})
    like, unlike = answered(drawn(600)), answered(np.tile(others, (10, 1)))
    for train, expected in ((None, 0), (like, 600), (unlike, 0)):
        learned = trust_of(bundle, "none", collected, max_error=0.2, train=train)
        assert learned.embeddings is not None
        assert learned.embeddings.train_photos == expected
        assert learned.photos == 60


def test_a_runtime_without_embeddings_has_scores_of_its_logits() -> None:
    random = np.random.default_rng(0)
    own, near = random.normal(0, 1, (2, 200, 3)).astype(np.float32)
    own[:, 0] += 6
    rule, scores = choose_score(Answers(own), Answers(near), HeldOut(np.arange(200) % FOLDS))
    assert [tried.method for tried in rule.tried] == ["max-probability", "max-logit", "energy"]
    assert rule.method == max(rule.tried, key=lambda tried: tried.auroc).method
    assert (scores <= rule.threshold).sum() == 190
    assert rule.kept == 0.95


def test_near_misses_are_of_five_kinds_and_none_is_the_photo() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (10, 18, 21, 3), np.uint8)
    labels = np.arange(10) % 2
    made = near_misses(images, labels, random)
    assert made.shape == images.shape
    assert made.dtype == np.uint8
    assert all((photo != miss).any() for photo, miss in zip(images, made, strict=True))
    assert np.array_equal(made[3], 255 - images[3])
    assert np.array_equal(np.sort(made[1], axis=None), np.sort(images[1], axis=None))
    mixed = [(images[0].astype(int) + images[other]) // 2 for other in range(10) if labels[other] != labels[0]]
    assert any(np.array_equal(made[0], mean) for mean in mixed)


@pytest.mark.parametrize("width", [8, 60])
def test_distances_are_those_of_the_whole_covariances(width: int) -> None:
    """With all directions stored, a distance is that of the shrunken matrices, inverted."""
    random = np.random.default_rng(1)
    labels = np.arange(200) % 3
    embeddings = (random.gamma(2.0, 1.0, (200, width)) + labels[:, None]).astype(np.float32)
    numbers = normalized(embeddings)
    distribution = fit_embeddings(embeddings, labels, 3)
    centred = numbers - numbers.mean(axis=0)
    means = np.stack([centred[labels == label].mean(axis=0) for label in range(3)])

    def distances(differences: np.ndarray, around: np.ndarray) -> np.ndarray:
        covariance = around.T @ around / 200
        shrunken = 0.7 * covariance + 0.3 * np.trace(covariance) / width * np.eye(width)
        result: np.ndarray = np.einsum("nd,de,ne->n", differences, np.linalg.inv(shrunken), differences)
        return result

    expected = distances(centred - means[labels], centred - means[labels]) - distances(centred, centred)
    assert distribution.distances(embeddings, labels).relative == pytest.approx(expected, rel=1e-6)
    stored = Embeddings.unpacked(distribution.packed("fp32/onnxruntime"), 3)
    assert stored.distances(embeddings, labels).relative == pytest.approx(expected, rel=0.02, abs=0.1 * width)


def nine_beside_sixty() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return labels and embeddings of 60 photos, embeddings and answers of 9 others, and their (9, 60) squared distances."""
    random = np.random.default_rng(4)
    labels = np.arange(60) % 3
    embeddings = random.gamma(2.0, 1.0, (60, 8)).astype(np.float32)
    others, answers = random.gamma(2.0, 1.0, (9, 8)).astype(np.float32), np.array([0, 1, 2, 3, 0, 1, 2, 3, 0])
    apart = ((normalized(others)[:, None] - normalized(embeddings)) ** 2).sum(axis=2)
    return labels, embeddings, others, answers, apart


def test_the_nearest_photo_is_the_nearest_of_the_answered_class() -> None:
    """With all directions stored, distances are those of the embeddings themselves."""
    labels, embeddings, others, answers, apart = nine_beside_sixty()
    distribution = fit_embeddings(embeddings, labels, 4)
    expected = [
        row[labels == label].min() if label < 3 else row.min() for row, label in zip(apart, answers, strict=True)
    ]
    assert distribution.distances(others, answers).nearest == pytest.approx(expected, abs=1e-9)
    stored = Embeddings.unpacked(distribution.packed("fp32/onnxruntime"), 4)
    assert stored.distances(others, answers).nearest == pytest.approx(expected, abs=0.01)


def test_the_excess_is_over_the_distance_to_the_nearest_photo_of_another_class() -> None:
    labels, embeddings, others, answers, apart = nine_beside_sixty()
    distribution = fit_embeddings(embeddings, labels, 4)
    expected = [
        row[labels == label].min() - row[labels != label].min() if label < 3 else 0
        for row, label in zip(apart, answers, strict=True)
    ]
    assert distribution.distances(others, answers).excess is None
    assert distribution.distances(others, answers, with_excess=True).excess == pytest.approx(expected, abs=1e-6)
    logits = np.eye(4, dtype=np.float32)[answers]
    neighbour, both = (
        foreign_scores(method, Answers(logits, others), distribution) for method in (*WITH_EMBEDDINGS[1:],)
    )
    assert both - neighbour == pytest.approx(
        distribution.neighbours.excess_weight * np.array(expected), rel=1e-4, abs=1e-5
    )
    stored = Embeddings.unpacked(distribution.packed("fp32/onnxruntime"), 4)
    assert stored.distances(others, answers, with_excess=True).excess == pytest.approx(expected, abs=0.01)
    assert stored.neighbours.excess_weight == distribution.neighbours.excess_weight
    alone = fit_embeddings(embeddings[labels == 1], labels[labels == 1], 4)
    assert alone.distances(others, answers, with_excess=True).excess == pytest.approx(np.zeros(9), abs=1e-6)


def test_weights_make_the_distances_spread_alike() -> None:
    """By hand: the distances from each photo to the nearest other one of its class and to the nearest of another class."""
    random = np.random.default_rng(5)
    labels = np.arange(90) % 3
    embeddings = (random.gamma(2.0, 1.0, (90, 8)) + 2 * np.eye(3, 8)[labels]).astype(np.float32)
    distribution = fit_embeddings(embeddings, labels, 3)
    apart = ((normalized(embeddings)[:, None] - normalized(embeddings)) ** 2).sum(axis=2)
    is_own = labels[:, None] == labels
    nearest = np.where(is_own & ~np.eye(90, dtype=bool), apart, np.inf).min(axis=1)
    other = np.where(is_own, np.inf, apart).min(axis=1)
    relative = distribution.distances(embeddings, labels).relative
    weight = relative.std() / nearest.std()
    assert distribution.neighbours.weight == pytest.approx(weight)
    spread = (relative + weight * nearest).std()
    assert distribution.neighbours.excess_weight == pytest.approx(EXCESS_SHARE * spread / (nearest - other).std())


def test_an_answer_that_lies_as_near_to_another_class_is_more_foreign() -> None:
    """Of mixtures of two classes, the score with two neighbours tells more than the one with the answer's class alone."""
    random = np.random.default_rng(6)
    labels = np.arange(400) % 4
    centres = random.gamma(1.0, 1.0, (4, 24))

    def drawn(at: np.ndarray) -> np.ndarray:
        return np.abs(at + random.normal(0, 0.5, at.shape)).astype(np.float32)

    photos, own = drawn(centres[labels]), drawn(centres[labels])
    share = random.uniform(0.5, 0.7, (400, 1))
    mixed = drawn(share * centres[labels] + (1 - share) * centres[(labels + 1) % 4])
    distribution = fit_embeddings(photos, labels, 4)
    logits = np.eye(4, dtype=np.float32)[labels]
    one, two = (
        auroc(*(foreign_scores(method, Answers(logits, part), distribution) for part in (own, mixed)))
        for method in (*WITH_EMBEDDINGS[1:],)
    )
    assert two > one + 0.005


def two_layers(count: int, seed: int, *, tells: bool) -> tuple[Answers, Answers, np.ndarray]:
    """Return the answers to photos of three classes and to near misses of them, of 40 + 30 features, and the photos' labels.

    Embeddings of near misses are those of photos. tells: whether the intermediate layer of near misses is unlike that of photos.
    """
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = np.random.default_rng(7).gamma(1.0, 1.0, (3, 70))
    drawn = np.abs(centres[labels] + random.normal(0, 0.4, (2, count, 70))).astype(np.float32)
    if tells:
        drawn[1, :, 40:] = np.roll(drawn[1, :, 40:], 5, axis=1)
    else:
        drawn[:, :, 40:] = random.gamma(1.0, 1.0, (2, count, 30))
        drawn[1, :, :40] = np.roll(drawn[1, :, :40], 1, axis=1)
    logits = 5 * np.eye(3, dtype=np.float32)[labels]
    own, near = (Answers(logits, part[:, :40], part[:, 40:]) for part in drawn)
    return own, near, labels


@pytest.mark.parametrize(("tells", "parts"), [(True, (40, 30)), (False, None)])
def test_the_intermediate_layer_counts_where_it_tells_near_misses_apart_better(
    bundle: Bundle, tells: bool, parts: tuple[int, int] | None
) -> None:
    photos, near, labels = two_layers(120, 1, tells=tells)
    narrower = Answers(photos.logits, photos.embeddings[:, :20])  # type: ignore[index]
    answers = {CHOSEN[0]: photos, CHOSEN[1]: narrower}, {CHOSEN[0]: near, CHOSEN[1]: narrower}
    learned = trust_of(bundle, "none", PhotoAnswers(labels, np.arange(120) % FOLDS, *answers), max_error=0.2)
    first, second = learned.candidates
    assert learned.embeddings is not None
    assert learned.embeddings.parts == parts
    assert first.foreign.method in WITH_EMBEDDINGS
    assert not {score.method for score in second.foreign.tried} & {*WITH_EMBEDDINGS}  # its network is another one
    stored = Trust.from_dict(json.loads(json.dumps(learned.to_dict())))
    assert stored == learned
    assert stored.embeddings is not None
    known = Embeddings.unpacked(stored.embeddings, 3)
    assert known.parts == (parts or (40,))
    own, far = (foreign_scores(first.foreign.method, each, known) for each in (photos, near))
    assert auroc(own, far) > 0.9
    if parts:
        with pytest.raises(FormatError, match="are 71 numbers in all; expected 70"):
            Embeddings.unpacked(replace(stored.embeddings, parts=(40, 31)), 3)


def test_each_layer_has_unit_length() -> None:
    features = np.random.default_rng(2).gamma(1.0, 5.0, (9, 7)).astype(np.float32)
    both = normalized(features, (4, 3))
    assert both == pytest.approx(np.concatenate([normalized(features[:, :4]), normalized(features[:, 4:])], axis=1))
    assert (normalized(features)[:, :4] ** 2).sum(axis=1) != pytest.approx(1)


def test_without_a_fold_the_axes_are_those_of_the_other_photos() -> None:
    """The search within a span finds what all directions give, of 600 numbers whose spectrum falls slowly."""
    random = np.random.default_rng(3)
    labels, folds = np.arange(700) % 3, np.arange(700) % FOLDS
    scales = 1 / np.sqrt(np.arange(1, 601))
    features = (np.abs(random.normal(2, 1, (700, 600))) * scales + labels[:, None] * scales).astype(np.float32)
    photos = LabelledFeatures(features, labels, (600,))
    found = held_out_distributions(photos, folds, 3)
    for fold, known in enumerate(found.embeddings[3:6], 3):
        others = photos.without(folds == fold)
        exact = others.distribution(3)
        assert known.total.variances == pytest.approx(exact.total.variances, rel=0.01)
        assert known.total.axes.T @ known.total.axes == pytest.approx(np.eye(64), abs=1e-9)
        expected = exact.distances(features, labels).relative
        assert known.distances(features, labels).relative == pytest.approx(expected, abs=0.03 * np.ptp(expected))


def test_a_file_without_the_second_neighbour_is_of_version_1(bundle: Bundle, photos: Path) -> None:
    trust = fit_trust(bundle, read_split(photos, "validation"), CHOSEN[:1], max_error=0.2)
    assert (trust.schema_version, version_of(trust.candidates, trust.embeddings)) == (2, 2)
    assert trust.embeddings is not None
    (row,) = trust.candidates
    tried = tuple(score for score in row.foreign.tried if score.method != TWO_NEIGHBOURS)
    earlier = replace(row, foreign=replace(row.foreign, method="mahalanobis-and-neighbour", tried=tried))
    neighbours = replace(trust.embeddings.neighbours, excess_weight=None)
    embeddings = replace(trust.embeddings, neighbours=neighbours, parts=None)
    version = version_of([earlier], embeddings)
    older = replace(trust, schema_version=version, candidates=(earlier,), embeddings=embeddings)
    assert older.schema_version == 1
    assert version_of([earlier], replace(embeddings, parts=(64, 32))) == 2
    written = json.loads(json.dumps(older.to_dict()))
    del (
        written["embeddings"]["neighbours"]["excess_weight"],
        written["embeddings"]["parts"],
    )  # as earlier versions wrote it
    assert Trust.from_dict(written) == older
    with pytest.raises(FormatError, match="excess_weight is missing"):
        replace(
            trust,
            candidates=(replace(row, foreign=replace(row.foreign, method=TWO_NEIGHBOURS)),),
            embeddings=embeddings,
        )


def test_a_photo_of_no_class_is_farther_than_those_of_the_classes() -> None:
    random = np.random.default_rng(2)
    labels = np.arange(300) % 3
    centres = 4 * np.eye(3, 200)
    embeddings = np.abs(centres[labels] + random.normal(0, 0.3, (300, 200)))
    distribution = fit_embeddings(embeddings, labels, 3)
    own = distribution.distances(embeddings[:60], labels[:60]).relative
    foreign = np.abs(4 * np.eye(200)[random.integers(3, 200, 60)] + random.normal(0, 0.3, (60, 200)))
    assert distribution.distances(foreign, labels[:60]).relative.min() > own.max()
    own = distribution.distances(embeddings[60:120], labels[60:120]).nearest
    assert distribution.distances(foreign, labels[:60]).nearest.min() > own.max()


def test_packed_arrays_are_refused_unless_they_fill_their_shape() -> None:
    packed = PackedArray.of(np.arange(6, dtype=np.float64).reshape(2, 3), "<f2")
    assert packed.unpacked().tolist() == [[0, 1, 2], [3, 4, 5]]
    for fault, changed in (
        ("12 bytes; expected 14", replace(packed, shape=(7,))),
        ("is not base64", replace(packed, base64="*")),
        ("expected at most", replace(packed, shape=(1 << 24,))),
        ("not finite", PackedArray.of(np.array([np.nan]), "<f4")),
    ):
        with pytest.raises(Exception, match=fault):
            changed.unpacked()
