"""Verification of a bundle on this machine: every hash, what the models say of themselves, the golden images' pixels, and every
model's answer to them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle import Bundle
from vegrt.errors import BundleError, DataError, FormatError, ModelError
from vegrt.infer.diagnose import explain_difference, explained
from vegrt.infer.golden_schema import read_golden
from vegrt.infer.metadata import foreign_metadata
from vegrt.infer.open import Candidate, candidates, open_candidate
from vegrt.infer.parity import cosines
from vegrt.preprocess import load_image
from vegrt.signature import changed_results, open_again

# least cosine with the stored fp32 logits
TOLERANCE = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.99, "int8": 0.9, "int8-cpu": 0.9}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was compared and what came out."""

    subject: str
    passed: bool
    detail: str


def verify(bundle: Bundle) -> list[Check]:
    """Return the checks of a bundle: files, classes and contract as the models state them, golden pixels, golden logits of each
    candidate that runs here. A failed check names its cause where it is known.

    Raises BundleError for a damaged file, before anything is run.
    """
    bundle = open_again(bundle)
    checks = signature_checks(bundle)
    checks += [Check("files", True, f"{len(bundle.manifest.artifacts)} artifacts have the SHA-256 of the manifest")]
    if bundle.has("model"):
        checks.append(_stated(bundle))
    if not any(artifact.role == "golden" for artifact in bundle.manifest.artifacts):
        return [*checks, Check("golden", True, "none yet; vegrt export adds them")]
    images, logits, pixels_equal = _golden(bundle)
    seen = f"{pixels_equal} of {len(images)} golden photos decode to the same pixels as where the bundle was made"
    checks.append(Check("golden pixels", pixels_equal == len(images), seen))
    return checks + [_compare(bundle, candidate, images, logits) for candidate in candidates(bundle)]


def signature_checks(bundle: Bundle) -> list[Check]:
    """Return what the signature, checked when the bundle was opened, says of manifest and results; nothing without a key."""
    if (signed := bundle.signed) is None:
        return []
    checks = [Check("signature", True, f"of this manifest, by key {signed.fingerprint}")]
    if signed.version == 1:
        return [
            *checks,
            Check("results", True, "not covered by a signature of format 1: none of them counts; sign again"),
        ]
    found, whole = changed_results(bundle), f"{len(signed.results)} results are as they were signed"
    return [*checks, Check("results", not found, f"{'; '.join(found)}; sign again, or delete it" if found else whole)]


def _golden(bundle: Bundle) -> tuple[NDArray[np.uint8], NDArray[np.float32], int]:
    """Return the golden photos (N, H, W, 3), their stored fp32 logits (N, K), and how many decode to the stored hash."""
    try:
        entries = read_golden(bundle)
        images = [load_image(bundle.listed(entry.file), bundle.manifest.contract) for entry in entries]
        equal = [
            hashlib.sha256(image.tobytes()).hexdigest() == entry.pixels_sha256
            for image, entry in zip(images, entries, strict=True)
        ]
        return np.stack(images), np.array([entry.logits for entry in entries], np.float32), sum(equal)
    except (OSError, FormatError, DataError) as error:
        raise BundleError(f"{bundle.path}/golden: damaged ({error}); export the bundle again") from error


def _stated(bundle: Bundle) -> Check:
    found = foreign_metadata(bundle)
    agreed = "the models were made for the classes, their order and the contract that the manifest names"
    return Check("classes and contract", not found, "; ".join(found) or agreed)


def _compare(bundle: Bundle, candidate: Candidate, images: NDArray[np.uint8], want: NDArray[np.float32]) -> Check:
    try:
        runner = open_candidate(bundle, candidate)
        cosine = float(cosines(want, runner.logits(images)).min())
    except ModelError as error:
        return Check(str(candidate), False, str(error))
    least = TOLERANCE.get(candidate.variant, 0.9)
    detail = f"cosine with the stored fp32 logits {cosine:.5f}, at least {least}"
    if cosine >= least:
        return Check(str(candidate), True, detail)
    cause = explained(lambda: explain_difference(want, runner, images, bundle.manifest.classes))
    return Check(str(candidate), False, f"{detail}; {cause}" if cause else detail)
