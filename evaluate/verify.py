"""Verification of a bundle on this machine: file hashes, the models' metadata, the golden photos' pixels, and the logits of every
model for these photos. Models that cannot run here are listed with the cause and the cure.
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
from vegrt.evaluate.coverage import not_run, runnable_artifacts
from vegrt.evaluate.diagnose import explain_difference, try_explain
from vegrt.evaluate.wording import not_run_cause, not_run_cure
from vegrt.infer.runtimes.candidates import Candidate, artifact_of, candidates, is_installed
from vegrt.infer.runtimes.logits import cosines
from vegrt.infer.runtimes.onnx_file import metadata_conflicts
from vegrt.infer.runtimes.open import open_candidate
from vegrt.photo.preprocess import load_image
from vegrt.results.golden import read_golden

Status = Literal["ok", "FAIL", "not run"]

# minimum cosine similarity to the stored fp32 logits, by variant
TOLERANCE = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.99, "int8": 0.9, "int8-cpu": 0.9}


@dataclass(frozen=True, slots=True)
class Check:
    """One check and its result.

    artifact: path of the model, engine or checkpoint that was checked; empty for other checks. cure: how to make it run here.
    """

    subject: str
    status: Status
    detail: str
    artifact: str = ""
    cure: str = ""

    def __str__(self) -> str:
        """Return the check as one line: status, subject, detail, cure."""
        return f"{self.status:<7} {self.subject}: {self.detail}{f'; {self.cure}' if self.cure else ''}"


def verify(bundle: Bundle) -> list[Check]:
    """Return the checks of a bundle: files, classes and contract in the models' metadata, golden pixels, golden logits.

    Runs every model and engine, but not the checkpoint: `vegrt evaluate` does that. A failed check names its cause if known.
    Raises BundleError for a damaged file, before any model is run.
    """
    bundle = open_again(bundle)
    checks = signature_checks(bundle)
    checks += [Check("files", "ok", f"{len(bundle.manifest.artifacts)} artifacts have the SHA-256 of the manifest")]
    if bundle.has("model"):
        checks.append(_check_metadata(bundle))
    if not bundle.has("golden"):
        return checks + _without_golden(bundle)
    images, logits, equal_count = _golden(bundle)
    detail = f"{equal_count} of {len(images)} golden photos decode to the same pixels as where the bundle was made"
    checks.append(Check("golden pixels", "ok" if equal_count == len(images) else "FAIL", detail))
    runnable = _runnable(bundle)
    checks += [_check_logits(bundle, candidate, images, logits) for candidate in runnable]
    return checks + [
        Check(missing.artifact, "not run", not_run_cause(missing), missing.artifact, not_run_cure(missing))
        for missing in not_run(bundle, runnable)
    ]


def conclusion(checks: Sequence[Check]) -> Status:
    """Return FAIL if a check failed, `not run` if no model passed, else ok."""
    if any(check.status == "FAIL" for check in checks):
        return "FAIL"
    return "ok" if any(check.artifact and check.status == "ok" for check in checks) else "not run"


def models_run(checks: Sequence[Check]) -> tuple[int, int]:
    """Return the number of models, engines and checkpoints that were run here, and their total number."""
    artifacts = {check.artifact for check in checks if check.artifact}
    ran = {check.artifact for check in checks if check.artifact and check.status != "not run"}
    return len(ran), len(artifacts)


def cure_of(checks: Sequence[Check]) -> str:
    """Return the first cure among the checks that were not run; empty when none is known."""
    return next((check.cure for check in checks if check.status == "not run" and check.cure), "")


def _runnable(bundle: Bundle) -> list[Candidate]:
    """Return the candidates to run; engines too if TensorRT is installed, because only loading shows if they fit this GPU."""
    on_gpu = candidates(bundle, "tensorrt") if is_installed("tensorrt") else []
    return [*candidates(bundle), *(candidate for candidate in on_gpu if candidate.runtime == "tensorrt")]


def _without_golden(bundle: Bundle) -> list[Check]:
    cause, cure = "no golden photos in the bundle", f"vegrt export {bundle.path} --data DATA"
    paths = [artifact.path for artifact in runnable_artifacts(bundle)]
    models = [Check(path, "not run", "no golden photos to run it on", path) for path in paths]
    return [Check("golden", "not run", cause, cure=cure), *models]


def signature_checks(bundle: Bundle) -> list[Check]:
    """Return the checks of manifest and results against the signature, which was verified on opening; none without a key."""
    if (signed := bundle.signed) is None:
        return []
    checks = [Check("signature", "ok", f"of this manifest, by key {signed.fingerprint}")]
    if signed.version == 1:
        cause, cure = "a signature of format 1 covers no results", "vegrt bundle sign BUNDLE --key KEY"
        return [*checks, Check("results", "not run", cause, cure=cure)]
    if changes := changed_results(bundle):
        return [*checks, Check("results", "FAIL", f"{'; '.join(changes)}; sign again, or delete it")]
    return [*checks, Check("results", "ok", f"{len(signed.results)} results match the signature")]


def _golden(bundle: Bundle) -> tuple[NDArray[np.uint8], NDArray[np.float32], int]:
    """Return the golden photos (N, H, W, 3), their stored fp32 logits (N, K), and the number that decode to the stored hash."""
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


def _check_metadata(bundle: Bundle) -> Check:
    subject = "classes and contract"
    try:
        comparison = metadata_conflicts(bundle)
    except (BundleError, ModelError) as error:
        return Check(subject, "FAIL", str(error))
    if comparison.conflicts:
        return Check(subject, "FAIL", "; ".join(map(str, comparison.conflicts)))
    total, silent = len(bundle.variants()), comparison.silent
    if len(silent) == total:
        return Check(subject, "not run", f"none of {total} models has this metadata")
    agreed = f"{total - len(silent)} of {total} models have the classes, their order and the contract of the manifest"
    return Check(subject, "ok", f"{agreed}; without this metadata: {', '.join(silent)}" if silent else agreed)


def _check_logits(
    bundle: Bundle, candidate: Candidate, images: NDArray[np.uint8], golden: NDArray[np.float32]
) -> Check:
    path = artifact_of(bundle, candidate).path
    try:
        runner = open_candidate(bundle, candidate)
        cosine = float(cosines(golden, runner.logits(images)).min())
    except (MissingExtraError, EngineError) as error:  # not for this machine; any other error is a fault of the bundle
        return Check(str(candidate), "not run", str(error), path)
    except VegrtError as error:
        return Check(str(candidate), "FAIL", f"cannot be run ({error})", path)
    minimum = TOLERANCE.get(candidate.variant, 0.9)
    detail = f"cosine with the stored fp32 logits {cosine:.5f}, at least {minimum}"
    if cosine >= minimum:
        return Check(str(candidate), "ok", detail, path)
    cause = try_explain(lambda: explain_difference(golden, runner, images, bundle.manifest.classes))
    return Check(str(candidate), "FAIL", f"{detail}; {cause}" if cause else detail, path)
