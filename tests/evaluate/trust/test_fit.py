from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import call
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.dataset.photos import read_split
from vegrt.errors import DataError
from vegrt.evaluate.trust.answers import FOLDS
from vegrt.evaluate.trust.distribution import fit_embeddings
from vegrt.evaluate.trust.fit import fit_trust
from vegrt.evaluate.trust.foreign import HeldOut, choose_score
from vegrt.evaluate.trust.near_misses import near_misses
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.trust.embeddings import Embeddings, normalized
from vegrt.infer.trust.record import WITH_EMBEDDINGS, PackedArray, Trust
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
        assert [tried.method for tried in row.foreign.tried][-2:] == [*WITH_EMBEDDINGS]
        assert row.abstention.threshold is None  # 299 are needed
        assert 0.93 < row.foreign.kept <= 0.98
    assert trust.embeddings is not None
    assert trust.embeddings.key == "fp32/onnxruntime"
    few = replace(split, photos=split.photos[:10])
    with pytest.raises(DataError, match="10 readable photos; trust needs at least 30"):
        fit_trust(bundle, few, CHOSEN, max_error=0.01)


def test_a_runtime_without_embeddings_has_scores_of_its_logits() -> None:
    random = np.random.default_rng(0)
    own, near = random.normal(0, 1, (2, 200, 3)).astype(np.float32)
    own[:, 0] += 6
    rule, scores = choose_score(Answers(own), Answers(near), HeldOut(np.arange(200) % FOLDS, ()))
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
    assert distribution.relative_distances(embeddings, labels) == pytest.approx(expected, rel=1e-6)
    stored = Embeddings.unpacked(distribution.packed("fp32/onnxruntime"), 3)
    assert stored.relative_distances(embeddings, labels) == pytest.approx(expected, rel=0.02, abs=0.1 * width)


def test_the_nearest_photo_is_the_nearest_of_the_answered_class() -> None:
    """With all directions stored, distances are those of the embeddings themselves."""
    random = np.random.default_rng(4)
    labels = np.arange(60) % 3
    embeddings = random.gamma(2.0, 1.0, (60, 8)).astype(np.float32)
    distribution = fit_embeddings(embeddings, labels, 4)
    others, answers = random.gamma(2.0, 1.0, (9, 8)).astype(np.float32), np.array([0, 1, 2, 3, 0, 1, 2, 3, 0])
    apart = ((normalized(others)[:, None] - normalized(embeddings)) ** 2).sum(axis=2)
    expected = [
        row[labels == label].min() if label < 3 else row.min() for row, label in zip(apart, answers, strict=True)
    ]
    assert distribution.neighbour_distances(others, answers) == pytest.approx(expected, abs=1e-9)
    stored = Embeddings.unpacked(distribution.packed("fp32/onnxruntime"), 4)
    assert stored.neighbour_distances(others, answers) == pytest.approx(expected, abs=0.01)


def test_a_photo_of_no_class_is_farther_than_those_of_the_classes() -> None:
    random = np.random.default_rng(2)
    labels = np.arange(300) % 3
    centres = 4 * np.eye(3, 200)
    embeddings = np.abs(centres[labels] + random.normal(0, 0.3, (300, 200)))
    distribution = fit_embeddings(embeddings, labels, 3)
    own = distribution.relative_distances(embeddings[:60], labels[:60])
    foreign = np.abs(4 * np.eye(200)[random.integers(3, 200, 60)] + random.normal(0, 0.3, (60, 200)))
    assert distribution.relative_distances(foreign, labels[:60]).min() > own.max()
    own = distribution.neighbour_distances(embeddings[60:120], labels[60:120])
    assert distribution.neighbour_distances(foreign, labels[:60]).min() > own.max()


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
