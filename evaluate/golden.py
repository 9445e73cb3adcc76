"""Golden photos: whether a model answers a few photos as fp32 did where the bundle was made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.errors import BundleError, DataError, EngineError, FormatError
from vegrt.infer.runtimes.logits import cosines
from vegrt.infer.runtimes.runner import Runner
from vegrt.photo.preprocess import load_image
from vegrt.results.golden import read_golden

# minimum cosine similarity to the stored fp32 logits, by variant
TOLERANCE = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.99, "int8": 0.9, "int8-cpu": 0.9}
_LEAST = 0.9  # for a variant that is not listed
_SLACK = 0.05  # between machines and runtimes, whose 8-bit kernels round differently


@dataclass(frozen=True, slots=True)
class GoldenPhotos:
    """N photos. images: (N, H, W, 3) uint8. logits: (N, K) float32 of fp32. same_pixels: how many decode to the stored pixels."""

    images: NDArray[np.uint8]
    logits: NDArray[np.float32]
    same_pixels: int


@dataclass(frozen=True, slots=True)
class GoldenAnswer:
    """The smallest cosine of a model's logits with the stored ones, and the smallest that is right for its variant."""

    cosine: float
    minimum: float

    @property
    def is_right(self) -> bool:
        """Return whether the answers are those of the same network; False if a logit is not finite."""
        return self.cosine >= self.minimum

    def __str__(self) -> str:
        """Return it in words."""
        return f"cosine with the stored fp32 logits {self.cosine:.5f}, at least {self.minimum}"


def load_golden(bundle: Bundle) -> GoldenPhotos:
    """Return a bundle's golden photos, decoded. Raises BundleError when they are damaged."""
    try:
        entries = read_golden(bundle)
        images = [load_image(bundle.listed_file(entry.file), bundle.manifest.contract) for entry in entries]
    except (OSError, FormatError, DataError) as error:
        raise BundleError(f"{bundle.path}/golden: damaged ({error}); export the bundle again") from error
    same = [
        hashlib.sha256(image.tobytes()).hexdigest() == entry.pixels_sha256
        for image, entry in zip(images, entries, strict=True)
    ]
    return GoldenPhotos(np.stack(images), np.array([entry.logits for entry in entries], np.float32), sum(same))


def least_cosine(bundle: Bundle, variant: str) -> float:
    """Return the smallest cosine with fp32 that is right for a variant of a bundle.

    A quantized model that vegrt did not make may differ from fp32 as much as it did when it was added.
    """
    if variant in TOLERANCE:
        return TOLERANCE[variant]
    models = (
        artifact for artifact in bundle.manifest.artifacts if (artifact.role, artifact.variant) == ("model", variant)
    )
    cosines_at_export: list[float] = [model.details.get("parity", {}).get("min_cosine", 1) for model in models]
    return min([_LEAST, *(cosine - _SLACK for cosine in cosines_at_export)])


def answer_golden(runner: Runner, golden: GoldenPhotos, minimum: float) -> GoldenAnswer:
    """Return how a model answers the golden photos. minimum: the smallest cosine with fp32 that is right."""
    return GoldenAnswer(float(cosines(golden.logits, runner.logits(golden.images)).min()), minimum)


def check_golden(subject: str, runner: Runner, variant: str, golden: GoldenPhotos) -> GoldenAnswer:
    """Return how a model that was just built answers the golden photos. Raises EngineError unless it answers them right."""
    answer = answer_golden(runner, golden, TOLERANCE[variant])
    if not answer.is_right:
        raise EngineError(f"{subject}: answers {len(golden.images)} golden photos wrongly ({answer}); it is not added")
    return answer
