"""Verification of a bundle on this machine: every hash, what the models say of themselves, the golden images' pixels, and every
model's answer to them. What could not be run is said as such, with the cause and the cure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.signature import changed_results, open_again
from vegrt.errors import BundleError, DataError, EngineError, FormatError, MissingExtraError, ModelError, VegrtError
from vegrt.evaluate.coverage import answering, not_run
from vegrt.evaluate.diagnose import explain_difference, explained
from vegrt.infer.runtimes.candidates import Candidate, artifact_of, candidates, is_installed
from vegrt.infer.runtimes.logits import cosines
from vegrt.infer.runtimes.onnx_file import metadata_conflicts
from vegrt.infer.runtimes.open import open_candidate
from vegrt.photo.preprocess import load_image
from vegrt.results.golden import read_golden

Status = Literal["ok", "FAIL", "not run"]

# least cosine with the stored fp32 logits
TOLERANCE = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.99, "int8": 0.9, "int8-cpu": 0.9}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was to be compared and what came out.

    artifact: path of the model, engine or checkpoint that was to answer; empty for other checks. cure: what would let it run.
    """

    subject: str
    status: Status
    detail: str
    artifact: str = ""
    cure: str = ""

    def __str__(self) -> str:
        """Return it as a line: status, subject, detail."""
        return f"{self.status:<7} {self.subject}: {self.detail}{f'; {self.cure}' if self.cure else ''}"


def verify(bundle: Bundle) -> list[Check]:
    """Return the checks of a bundle: files, classes and contract as the models state them, golden pixels, golden logits of each
    model and engine. The checkpoint does not ship: `vegrt evaluate` judges it. A failed check names its cause where it is known.

    Raises BundleError for a damaged file, before anything is run.
    """
    bundle = open_again(bundle)
    checks = signature_checks(bundle)
    checks += [Check("files", "ok", f"{len(bundle.manifest.artifacts)} artifacts have the SHA-256 of the manifest")]
    if bundle.has("model"):
        checks.append(_stated(bundle))
    if not bundle.has("golden"):
        return checks + _without_golden(bundle)
    images, logits, pixels_equal = _golden(bundle)
    seen = f"{pixels_equal} of {len(images)} golden photos decode to the same pixels as where the bundle was made"
    checks.append(Check("golden pixels", "ok" if pixels_equal == len(images) else "FAIL", seen))
    chosen = _runnable(bundle)
    checks += [_compare(bundle, candidate, images, logits) for candidate in chosen]
    return checks + [
        Check(one.artifact, "not run", one.cause, one.artifact, one.cure) for one in not_run(bundle, chosen)
    ]


def conclusion(checks: Sequence[Check]) -> Status:
    """Return FAIL if a check failed, `not run` if no model answered, else ok."""
    if any(check.status == "FAIL" for check in checks):
        return "FAIL"
    return "ok" if any(check.artifact and check.status == "ok" for check in checks) else "not run"


def models_run(checks: Sequence[Check]) -> tuple[int, int]:
    """Return how many models, engines and checkpoints were run here, and of how many."""
    every = {check.artifact for check in checks if check.artifact}
    return len({check.artifact for check in checks if check.artifact and check.status != "not run"}), len(every)


def cure_of(checks: Sequence[Check]) -> str:
    """Return the first cure of what was not run; empty when none is known."""
    return next((check.cure for check in checks if check.status == "not run" and check.cure), "")


def _runnable(bundle: Bundle) -> list[Candidate]:
    """Return what may run here. Where TensorRT is installed an engine is tried: whether it fits this GPU is seen then."""
    engines = (
        [one for one in candidates(bundle, "tensorrt") if one.runtime == "tensorrt"] if is_installed("tensorrt") else []
    )
    return [*candidates(bundle), *engines]


def _without_golden(bundle: Bundle) -> list[Check]:
    cause, cure = "no golden photos in the bundle", f"vegrt export {bundle.path} --data DATA"
    paths = [artifact.path for artifact in answering(bundle)]
    models = [Check(path, "not run", "no golden photos to compare its answers on", path) for path in paths]
    return [Check("golden", "not run", cause, cure=cure), *models]


def signature_checks(bundle: Bundle) -> list[Check]:
    """Return what the signature, checked when the bundle was opened, says of manifest and results; nothing without a key."""
    if (signed := bundle.signed) is None:
        return []
    checks = [Check("signature", "ok", f"of this manifest, by key {signed.fingerprint}")]
    if signed.version == 1:
        cause, cure = "a signature of format 1 covers none: none of them counts", "vegrt bundle sign BUNDLE --key KEY"
        return [*checks, Check("results", "not run", cause, cure=cure)]
    if found := changed_results(bundle):
        return [*checks, Check("results", "FAIL", f"{'; '.join(found)}; sign again, or delete it")]
    return [*checks, Check("results", "ok", f"{len(signed.results)} results are as they were signed")]


def _golden(bundle: Bundle) -> tuple[NDArray[np.uint8], NDArray[np.float32], int]:
    """Return the golden photos (N, H, W, 3), their stored fp32 logits (N, K), and how many decode to the stored hash."""
    try:
        entries = read_golden(bundle)
        images = [load_image(bundle.listed_file(entry.file), bundle.manifest.contract) for entry in entries]
        equal = [
            hashlib.sha256(image.tobytes()).hexdigest() == entry.pixels_sha256
            for image, entry in zip(images, entries, strict=True)
        ]
        return np.stack(images), np.array([entry.logits for entry in entries], np.float32), sum(equal)
    except (OSError, FormatError, DataError) as error:
        raise BundleError(f"{bundle.path}/golden: damaged ({error}); export the bundle again") from error


def _stated(bundle: Bundle) -> Check:
    subject = "classes and contract"
    try:
        stated = metadata_conflicts(bundle)
    except (BundleError, ModelError) as error:
        return Check(subject, "FAIL", str(error))
    if stated.conflicts:
        return Check(subject, "FAIL", "; ".join(map(str, stated.conflicts)))
    total, silent = len(bundle.variants()), stated.silent
    if len(silent) == total:
        return Check(subject, "not run", f"none of {total} models says what it was made for")
    agreed = f"{total - len(silent)} of {total} models were made for the classes, their order and the contract of the manifest"
    return Check(subject, "ok", f"{agreed}; {', '.join(silent)} say nothing of it" if silent else agreed)


def _compare(bundle: Bundle, candidate: Candidate, images: NDArray[np.uint8], want: NDArray[np.float32]) -> Check:
    path = artifact_of(bundle, candidate).path
    try:
        runner = open_candidate(bundle, candidate)
        cosine = float(cosines(want, runner.logits(images)).min())
    except (MissingExtraError, EngineError) as error:  # not for this machine; anything else is a fault of the bundle
        return Check(str(candidate), "not run", str(error), path)
    except VegrtError as error:
        return Check(str(candidate), "FAIL", f"cannot be run ({error})", path)
    least = TOLERANCE.get(candidate.variant, 0.9)
    detail = f"cosine with the stored fp32 logits {cosine:.5f}, at least {least}"
    if cosine >= least:
        return Check(str(candidate), "ok", detail, path)
    cause = explained(lambda: explain_difference(want, runner, images, bundle.manifest.classes))
    return Check(str(candidate), "FAIL", f"{detail}; {cause}" if cause else detail, path)
